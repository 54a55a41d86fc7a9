//! Several merchant ids of one connection, against scripted answers.
