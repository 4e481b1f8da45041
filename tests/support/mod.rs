//! What the tests stand on.

mod bedrock;
mod binaries;
mod books;
mod chaos;
mod examples;
mod forge;
mod frames;
mod model;
mod policy;
mod random;
mod recorder;
mod reply;
mod rigs;
mod runtime;
mod secrets;
mod streaming;
mod system;

pub use bedrock::{BedrockServer, Converse, Frame};
pub use books::Books;
pub use chaos::{Chaos, Dice};
pub use examples::{About, Example, examples, protected};
pub use forge::Forge;
pub use model::{ModelServer, Part, Told};
pub use policy::{Call, calls};
pub use random::Random;
pub use recorder::{Fault, Lost, Place, Recorded, Span, round_trips};
pub use reply::Reply;
pub use rigs::{Bedrock, FailingProvider, LlamaServer, Sdk};
pub use secrets::{SecretServer, Stored};
pub use streaming::{Streaming, Told as ToldEvent};
pub use system::{Account, Request, System, root, template};
