//! What the tests stand on.

mod bedrock;
mod binaries;
mod books;
mod chaos;
mod examples;
mod forge;
mod frames;
mod gateway;
mod model;
mod proxy;
mod random;
mod recorder;
mod reply;
mod rigs;
mod running;
mod runtime;
mod secrets;
mod site;
mod streaming;
mod system;

pub use bedrock::{BedrockServer, Converse, Frame};
pub use books::Books;
pub use chaos::{Chaos, Dice};
pub use examples::{About, Example, examples, protected};
pub use forge::Forge;
pub use model::{ModelServer, Part, Told};
pub use proxy::{Cut, Proxy};
pub use random::Random;
pub use recorder::{Fault, Lost, Place, Recorded, Span, round_trips};
pub use reply::Reply;
pub use rigs::{Bedrock, FailingProvider, LlamaServer, Sdk, busy, free_port};
pub use running::{Running, readme_blocks, readme_line};
pub use secrets::{SecretServer, Stored};
pub use site::Site;
pub use streaming::{Streaming, Told as ToldEvent};
pub use system::{Account, Request, System, root, template};
