//! What may be said of an error of the SDK: its code, never its text, for texts can quote what was sent.

use aws_sdk_dynamodb::error::{ProvideErrorMetadata, SdkError};

/// The service's code, or how the call failed on the way.
pub(crate) fn describe<E: ProvideErrorMetadata, R>(error: &SdkError<E, R>) -> String {
    match error {
        SdkError::ServiceError(answer) => {
            answer.err().code().unwrap_or("an answer without a code").to_owned()
        }
        SdkError::TimeoutError(_) => "no answer in time".to_owned(),
        SdkError::DispatchFailure(failure) if failure.is_timeout() => "no connection in time".to_owned(),
        SdkError::DispatchFailure(failure) if failure.is_io() => "the connection failed".to_owned(),
        SdkError::DispatchFailure(_) => "not sent: network or credentials".to_owned(),
        SdkError::ResponseError(_) => "an answer that cannot be read".to_owned(),
        SdkError::ConstructionFailure(_) => "the request could not be built".to_owned(),
        _ => "an unknown failure".to_owned(),
    }
}

/// Whether the service answered with this code.
pub(crate) fn is<E: ProvideErrorMetadata, R>(error: &SdkError<E, R>, code: &str) -> bool {
    matches!(error, SdkError::ServiceError(answer) if answer.err().code() == Some(code))
}
