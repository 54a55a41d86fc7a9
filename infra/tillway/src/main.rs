//! The `tillway` command.

fn main() -> std::process::ExitCode {
    tillway::main()
}
