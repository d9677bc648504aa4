//! A TCP proxy that cuts connections at chosen moments.

use std::sync::{
    Arc,
    atomic::{AtomicU8, AtomicUsize, Ordering},
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    task::JoinSet,
};

/// When a connection is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Cut {
    /// Not at all.
    Never,
    /// When the client sends a script; the server never sees it. Once.
    Before,
    /// When the server answers a script; the client never sees it. Once.
    After,
    /// Whenever the client sends anything.
    Always,
}

#[derive(Debug, Default)]
struct State {
    cut: AtomicU8,
    connections: AtomicUsize,
}

impl State {
    fn is(&self, cut: Cut) -> bool {
        self.cut.load(Ordering::SeqCst) == cut as u8
    }

    /// Whether to cut now. What happens once is used up.
    fn take(&self, when: Cut) -> bool {
        self.cut.compare_exchange(when as u8, Cut::Never as u8, Ordering::SeqCst, Ordering::SeqCst).is_ok()
    }
}

/// Listens on a port of its own; ends with its last connection when dropped.
#[derive(Debug)]
pub(super) struct Proxy {
    state: Arc<State>,
    port: u16,
    _running: JoinSet<()>,
}

impl Proxy {
    /// Before the server at `redis://host:port`.
    pub(super) async fn to(url: &str) -> Self {
        let target = url.trim_start_matches("redis://").to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let state = Arc::new(State::default());
        let shared = Arc::clone(&state);
        let mut running = JoinSet::new();
        running.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                shared.connections.fetch_add(1, Ordering::SeqCst);
                connections.spawn(carry(client, target.clone(), Arc::clone(&shared)));
            }
        });
        Self { state, port, _running: running }
    }

    pub(super) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    pub(super) fn port(&self) -> u16 {
        self.port
    }

    /// What to do from now on.
    pub(super) fn cut(&self, cut: Cut) {
        self.state.cut.store(cut as u8, Ordering::SeqCst);
    }

    /// How many connections were made so far.
    pub(super) fn connections(&self) -> usize {
        self.state.connections.load(Ordering::SeqCst)
    }
}

async fn carry(mut client: TcpStream, target: String, state: Arc<State>) {
    let mut server = TcpStream::connect(target).await.unwrap();
    let (mut up, mut down) = (vec![0; 65536], vec![0; 65536]);
    let mut asked = false;
    loop {
        let (sent, cut) = tokio::select! {
            read = client.read(&mut up) => match read {
                Ok(n) if n > 0 => {
                    asked = up[..n].windows(7).any(|word| word == b"EVALSHA");
                    if asked && state.take(Cut::Before) || state.is(Cut::Always) {
                        return;
                    }
                    (server.write_all(&up[..n]).await, false)
                }
                _ => (Ok(()), true),
            },
            read = server.read(&mut down) => match read {
                Ok(n) if n > 0 && !(asked && state.take(Cut::After)) => (client.write_all(&down[..n]).await, false),
                _ => (Ok(()), true),
            },
        };
        if cut || sent.is_err() {
            return;
        }
    }
}
