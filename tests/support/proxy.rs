//! A bad connection between clients and a server.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex},
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, copy},
    net::{TcpListener, TcpStream},
};

/// Where the connection breaks on which the next reply comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cut {
    /// The server has answered, and the client hears nothing of it.
    BeforeHeaders,
    /// The client hears that there is an answer.
    AfterHeaders,
    /// The client hears the beginning of the answer.
    InBody,
}

/// What the connections lead through.
pub struct Proxy {
    /// The `host:port` for the client.
    pub address: String,
    cuts: Arc<Mutex<VecDeque<Cut>>>,
}

impl Proxy {
    /// Opens it in front of the server at this `host:port`.
    pub async fn open(server: &str) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let proxy = Self {
            address: listener.local_addr().unwrap().to_string(),
            cuts: Arc::default(),
        };
        let (server, cuts) = (server.to_owned(), Arc::clone(&proxy.cuts));
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let server = TcpStream::connect(&server).await.unwrap();
                // However it ends, it is over.
                tokio::spawn(carry(client, server, Arc::clone(&cuts)));
            }
        });
        proxy
    }

    /// Breaks the next connection, there.
    pub fn cut(&self, cut: Cut) {
        self.cuts.lock().unwrap().push_back(cut);
    }

    /// Whether every connection that was to be broken has been.
    pub fn has_cut(&self) -> bool {
        self.cuts.lock().unwrap().is_empty()
    }
}

async fn carry(client: TcpStream, server: TcpStream, cuts: Arc<Mutex<VecDeque<Cut>>>) -> std::io::Result<()> {
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let requests = tokio::spawn(async move { copy(&mut from_client, &mut to_server).await });
    let mut head = Vec::new();
    let (mut cut, mut passed) = (None, false);
    let replies = async {
        let mut buffer = vec![0; 16 * 1024];
        loop {
            let count = from_server.read(&mut buffer).await?;
            if count == 0 {
                return Ok(());
            }
            if passed {
                to_client.write_all(&buffer[..count]).await?;
                continue;
            }
            // The first bytes of a reply: the server has answered, or has begun to.
            if head.is_empty() {
                cut = cuts.lock().unwrap().pop_front();
            }
            head.extend_from_slice(&buffer[..count]);
            let end = head
                .windows(4)
                .position(|window| window == b"\r\n\r\n")
                .map(|at| at + 4);
            match (cut, end) {
                (Some(Cut::BeforeHeaders), _) => return Ok(()),
                (Some(Cut::AfterHeaders), Some(end)) => return to_client.write_all(&head[..end]).await,
                // Half of what has come.
                (Some(Cut::InBody), Some(end)) if head.len() > end + 20 => {
                    return to_client.write_all(&head[..usize::midpoint(end, head.len())]).await;
                }
                (Some(_), _) => {}
                (None, _) => {
                    to_client.write_all(&head).await?;
                    passed = true;
                }
            }
        }
    };
    let result = replies.await;
    // Both ends are closed: the server sees that the client has gone.
    requests.abort();
    result
}
