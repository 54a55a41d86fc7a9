//! A stack in an AWS account, where this build knows AWS at all: without the feature `aws` there is no such thing,
//! and who asks for one is told how to build it.

#[cfg(feature = "aws")]
pub use tillway_aws::desk::Stack;

#[cfg(not(feature = "aws"))]
pub use self::absent::Stack;

#[cfg(not(feature = "aws"))]
mod absent {
    use std::path::Path;

    use anyhow::bail;
    use tillway_core::ids::PersonId;
    use tillway_engine::Engine;
    use tillway_local::secrets::FileSecrets;

    /// None can be had; the methods are those of the real one.
    pub enum Stack {}

    impl Stack {
        /// # Errors
        /// Always.
        pub async fn of(_name: &str) -> anyhow::Result<Self> {
            bail!(
                "this `tillway` was built without AWS, to stay small; build the one that knows --aws:\n  \
                 cargo build --release -p tillway --features aws"
            )
        }
        /// Its secrets.
        #[must_use]
        pub fn keeper(&self) -> FileSecrets {
            match *self {}
        }
        /// Its engine.
        ///
        /// # Errors
        /// Never.
        pub async fn engine(&self, _config: &Path, _table: Option<&str>) -> anyhow::Result<Engine> {
            match *self {}
        }
        /// Writes down who was erased.
        ///
        /// # Errors
        /// Never.
        pub async fn remember(&self, _persons: &[PersonId]) -> anyhow::Result<()> {
            match *self {}
        }
        /// Who was erased.
        ///
        /// # Errors
        /// Never.
        pub async fn erased(&self) -> anyhow::Result<Vec<PersonId>> {
            match *self {}
        }
    }
}
