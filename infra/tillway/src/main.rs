//! The `tillway` command.

/// Orders are many small allocations: this one gives them back a third of their time.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    tillway::main()
}
