//! Contract tests of the ports.
