//! .
/// .
pub struct Stripe;
