//! Requests that wait at the same time go to the server together: one script for many commits, one row of commands for many reads. Each has its own answer.

use std::{
    collections::{HashMap, VecDeque},
    time::Duration,
};

use futures::{FutureExt as _, StreamExt as _, future::BoxFuture, stream::FuturesUnordered};
use tokio::{
    sync::{mpsc, oneshot},
    time::timeout,
};
use tokio_util::sync::CancellationToken;

use super::failure::Failure;
use crate::model::{error::Result, id::Namespace};

/// Most requests that wait for the task that sends them; the next ones wait for a place.
const QUEUE: usize = 1024;
/// Most calls of a namespace under way. One is carried out while the next one travels; further ones would only make each smaller.
const UNDER_WAY: usize = 2;
/// Most requests in one call, so that no script keeps the server from others for more than a few milliseconds.
const TOGETHER: usize = 32;
/// A call takes no more requests from this size on, in bytes.
const FULL: usize = 64 << 10;

/// A request that waits for its answer.
pub(super) struct Request<Q, A> {
    namespace: Namespace,
    size: usize,
    alone: bool,
    /// What is asked for.
    pub(super) what: Q,
    answer: oneshot::Sender<Result<A>>,
}

impl<Q, A> Request<Q, A> {
    /// Answers; whoever gave up waiting misses it.
    pub(super) fn answer(self, answer: Result<A>) {
        let _ = self.answer.send(answer);
    }
}

/// Where requests are put, and answers are waited for.
pub(super) struct Queue<Q, A> {
    requests: mpsc::Sender<Request<Q, A>>,
    location: String,
    limit: Duration,
}

/// The other end of a [`Queue`].
pub(super) struct Gatherer<Q, A> {
    requests: mpsc::Receiver<Request<Q, A>>,
    lanes: HashMap<Namespace, Lane<Q, A>>,
}

/// The requests of one namespace.
struct Lane<Q, A> {
    waiting: VecDeque<Request<Q, A>>,
    under_way: usize,
}

/// An empty queue before the server at `location`, whose calls take no longer than `limit`.
pub(super) fn queue<Q, A>(location: &str, limit: Duration) -> (Queue<Q, A>, Gatherer<Q, A>) {
    let (sender, receiver) = mpsc::channel(QUEUE);
    (Queue { requests: sender, location: location.to_owned(), limit }, Gatherer { requests: receiver, lanes: HashMap::new() })
}

impl<Q, A> Queue<Q, A> {
    /// Asks for something of about this many bytes, and waits for the answer no longer than the limit and a tenth: what the call that takes it along may take, and a little
    /// for its turn. `alone`: no other request goes with it.
    pub(super) async fn ask(&self, namespace: &Namespace, what: Q, size: usize, alone: bool) -> Result<A> {
        let (answer, answered) = oneshot::channel();
        let request = Request { namespace: namespace.clone(), size, alone, what, answer };
        let asked = async {
            self.requests.send(request).await.map_err(|_| Failure::Away)?;
            answered.await.map_err(|_| Failure::Away)
        };
        let answered = timeout(self.limit + self.limit / 10, asked).await.unwrap_or(Err(Failure::Late(self.limit)));
        answered.unwrap_or_else(|failure| Err(failure.error(&self.location)))
    }
}

impl<Q, A> Gatherer<Q, A> {
    /// Sends what waits, until `stop`; `send` answers all requests of one call, which are of one namespace.
    pub(super) async fn serve<'a>(mut self, send: impl Fn(Namespace, Vec<Request<Q, A>>) -> BoxFuture<'a, ()>, stop: CancellationToken) {
        let mut under_way = FuturesUnordered::new();
        let mut arrived = Vec::new();
        loop {
            tokio::select! {
                biased;
                Some(namespace) = under_way.next() => {
                    if let Some(lane) = self.lanes.get_mut(&namespace) {
                        lane.under_way -= 1;
                    }
                    under_way.extend(self.start(&namespace, &send));
                }
                _ = self.requests.recv_many(&mut arrived, QUEUE) => {
                    for namespace in self.sort(&mut arrived) {
                        under_way.extend(self.start(&namespace, &send));
                    }
                }
                () = stop.cancelled() => break,
            }
        }
        // Whoever still waits for its turn learns that nothing was sent for it.
        self.lanes.clear();
        drop(self.requests);
        while under_way.next().await.is_some() {}
    }

    /// Puts requests into their lanes and says which these are.
    fn sort(&mut self, arrived: &mut Vec<Request<Q, A>>) -> Vec<Namespace> {
        let mut touched = Vec::new();
        for request in arrived.drain(..) {
            if !touched.contains(&request.namespace) {
                touched.push(request.namespace.clone());
            }
            let lane = self.lanes.entry(request.namespace.clone()).or_insert_with(|| Lane { waiting: VecDeque::new(), under_way: 0 });
            lane.waiting.push_back(request);
        }
        touched
    }

    /// Sends as many calls of a namespace as may be under way.
    fn start<'a>(&mut self, namespace: &Namespace, send: &impl Fn(Namespace, Vec<Request<Q, A>>) -> BoxFuture<'a, ()>) -> Vec<BoxFuture<'a, Namespace>> {
        let mut calls = Vec::new();
        let Some(lane) = self.lanes.get_mut(namespace) else { return calls };
        while lane.under_way < UNDER_WAY {
            let requests = lane.take();
            if requests.is_empty() {
                break;
            }
            lane.under_way += 1;
            let (call, of) = (send(namespace.clone(), requests), namespace.clone());
            calls.push(call.map(|()| of).boxed());
        }
        if lane.under_way == 0 {
            self.lanes.remove(namespace);
        }
        calls
    }
}

impl<Q, A> Lane<Q, A> {
    /// The requests of the next call; none when nobody waits.
    fn take(&mut self) -> Vec<Request<Q, A>> {
        let (mut requests, mut size) = (Vec::new(), 0);
        while let Some(next) = self.waiting.front() {
            let fits = requests.is_empty() || (!next.alone && requests.len() < TOGETHER && size < FULL);
            if !fits {
                break;
            }
            let Some(next) = self.waiting.pop_front() else { break };
            // Whoever gave up was told that it may have been done; now it is not.
            if next.answer.is_closed() {
                continue;
            }
            size += next.size;
            let alone = next.alone;
            requests.push(next);
            if alone {
                break;
            }
        }
        requests
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use tokio::sync::Semaphore;

    use super::*;
    use crate::model::error::{Error, Reason};

    /// Of each call the namespace and what was asked for.
    type Calls = Vec<(String, Vec<u32>)>;

    /// A server that notes what comes together, and answers a call whenever it is let.
    #[derive(Clone)]
    struct Server {
        calls: Arc<Mutex<Calls>>,
        lets: Arc<Semaphore>,
    }

    impl Server {
        fn start(limit: Duration) -> (Self, Arc<Queue<u32, u32>>, CancellationToken) {
            let (server, stop) = (Self { calls: Arc::default(), lets: Arc::new(Semaphore::new(0)) }, CancellationToken::new());
            let (queue, gatherer) = queue("here:1", limit);
            let (told, carried) = (stop.clone(), server.clone());
            let send = move |namespace: Namespace, requests: Vec<Request<u32, u32>>| {
                let server = carried.clone();
                Box::pin(async move { server.carry(&namespace, requests).await }) as BoxFuture<'static, ()>
            };
            #[expect(clippy::disallowed_methods, reason = "it ends with the test")]
            tokio::spawn(gatherer.serve(send, told));
            (server, Arc::new(queue), stop)
        }

        async fn carry(&self, namespace: &Namespace, requests: Vec<Request<u32, u32>>) {
            self.calls.lock().unwrap().push((namespace.to_string(), requests.iter().map(|request| request.what).collect()));
            self.lets.acquire().await.unwrap().forget();
            for request in requests {
                let what = request.what;
                request.answer(if what == 13 { Err(Error::new(Reason::DataCorrupt, "13")) } else { Ok(what * 10) });
            }
        }

        async fn calls(&self, count: usize) -> Calls {
            while self.calls.lock().unwrap().len() < count {
                tokio::task::yield_now().await;
            }
            self.calls.lock().unwrap().clone()
        }
    }

    fn ns(name: &str) -> Namespace {
        Namespace::parse("namespace", name).unwrap()
    }

    /// Asks in the order given, all at once.
    async fn ask(queue: &Queue<u32, u32>, asked: &[(&str, u32, bool)]) -> Vec<Result<u32>> {
        let asked: Vec<_> = asked.iter().map(|&(name, what, alone)| (ns(name), what, alone)).collect();
        futures::future::join_all(asked.iter().map(|(name, what, alone)| queue.ask(name, *what, 1, *alone))).await
    }

    #[tokio::test]
    async fn what_waits_while_calls_are_under_way_goes_together_and_is_answered_each() {
        let (server, queue, _stop) = Server::start(Duration::from_secs(30));
        let asked = [("a", 1, false), ("a", 2, false), ("b", 3, false)];
        let (first, ()) = tokio::join!(ask(&queue, &asked), async {
            assert_eq!(server.calls(2).await, [("a".to_owned(), vec![1, 2]), ("b".to_owned(), vec![3])], "namespaces apart");
            server.lets.add_permits(2);
        });
        assert_eq!(first.into_iter().map(Result::unwrap).collect::<Vec<_>>(), [10, 20, 30]);
        let asked = [("a", 4, false), ("a", 5, true), ("a", 6, false), ("a", 13, false), ("a", 8, false)];
        let (second, ()) = tokio::join!(ask(&queue, &asked), async {
            assert_eq!(server.calls(4).await[2..], [("a".to_owned(), vec![4]), ("a".to_owned(), vec![5])], "one goes alone, and no third call with them");
            server.lets.add_permits(9);
            assert_eq!(server.calls(5).await[4].1, [6, 13, 8]);
        });
        assert_eq!(second.iter().map(Result::is_ok).collect::<Vec<_>>(), [true, true, true, false, true]);
        assert_eq!(second[3].as_ref().unwrap_err().reason(), Reason::DataCorrupt);
    }

    #[tokio::test]
    async fn a_large_request_closes_its_call_and_no_call_takes_more_than_its_share() {
        let (server, queue, _stop) = Server::start(Duration::from_secs(30));
        server.lets.add_permits(100);
        let sizes = [FULL, 1, 1].into_iter().chain(std::iter::repeat_n(0, TOGETHER)).enumerate();
        let name = ns("a");
        let all = sizes.map(|(what, size)| queue.ask(&name, u32::try_from(what).unwrap(), size, false));
        futures::future::join_all(all).await;
        let lengths: Vec<_> = server.calls(3).await.iter().map(|(_, requests)| requests.len()).collect();
        assert_eq!(lengths, [1, TOGETHER, 2]);
    }

    #[tokio::test]
    async fn whoever_waits_too_long_is_told_and_not_sent_and_the_end_answers_all() {
        let (server, queue, stop) = Server::start(Duration::from_millis(20));
        let late = ask(&queue, &[("a", 1, true), ("a", 2, true), ("a", 3, true)]).await;
        assert!(late.iter().all(|answer| answer.as_ref().unwrap_err().reason() == Reason::MetadataUnavailable), "{late:?}");
        server.lets.add_permits(2);
        server.lets.add_permits(1);
        assert_eq!(ask(&queue, &[("a", 4, false)]).await.remove(0).unwrap(), 40);
        assert_eq!(server.calls(3).await[2].1, [4], "3 had given up before its turn");
        stop.cancel();
        assert!(ask(&queue, &[("a", 5, false)]).await[0].is_err());
    }
}
