//! What is told of a panic: its place alone, for what it says may hold data.

/// Logs the place of every panic of this process, and nothing it says.
pub fn quiet() {
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        tracing::error!(code = "panicked", place, "a defect of ours stopped a piece of work");
    }));
}
