//! The `tillway` command, built beside the tests that start it.

fn main() -> std::process::ExitCode {
    tillway::main()
}
