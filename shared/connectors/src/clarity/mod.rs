//! .
/// .
pub struct Clarity;
