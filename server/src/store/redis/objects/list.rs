//! Listing objects: the headers among all keys, found by SCAN. That looks at every key there is, which nothing does that anybody waits for.

use std::{
    collections::BTreeSet,
    time::{Duration, UNIX_EPOCH},
};

use futures::{
    StreamExt as _, TryStreamExt as _,
    future::ready,
    stream::{self, BoxStream},
};
use object_store::{ObjectMeta, Result, path::Path};
use redis::{
    Cmd, ErrorKind, Value,
    cluster_async::ClusterConnection,
    cluster_routing::{MultipleNodeRoutingInfo, ResponsePolicy, RoutingInfo, SingleNodeRoutingInfo},
    cmd, from_redis_value,
};

use super::{
    super::{
        connect::{Kind, Link, within},
        failure::Failure,
    },
    RedisObjects,
    keys::Header,
};

/// How many keys a step of SCAN looks at, about.
const STEP: usize = 1000;
/// Headers read at a time.
const ABREAST: usize = 16;

/// What the trait tells of an object.
pub(super) fn meta(location: Path, header: &Header) -> ObjectMeta {
    let last_modified = (UNIX_EPOCH + Duration::from_micros(header.created)).into();
    ObjectMeta { location, last_modified, size: header.length, e_tag: Some(format!("\"{}\"", header.upload)), version: None }
}

impl RedisObjects {
    /// All objects in a directory, by name.
    pub(super) fn objects_in(self, directory: String) -> BoxStream<'static, Result<ObjectMeta>> {
        let found = async move {
            let names = self.names(&directory).await?;
            let look = move |path: Path| {
                let this = self.clone();
                // It may have been deleted meanwhile.
                async move { Ok(this.header(&path).await?.map(|header| meta(path, &header))) }
            };
            Ok::<_, object_store::Error>(stream::iter(names).map(look).buffered(ABREAST).try_filter_map(|found| ready(Ok(found))))
        };
        stream::once(found).try_flatten().boxed()
    }

    async fn names(&self, directory: &str) -> Result<BTreeSet<Path>> {
        let pattern = self.0.keys.headers_in(directory);
        let mut names = BTreeSet::new();
        let heard = |keys: Vec<String>| names.extend(keys.iter().filter_map(|key| Path::parse(self.0.keys.name(key)?).ok()));
        scan(self.link().await?, &pattern, heard).await.map_err(|failure| self.failed(failure))?;
        Ok(names)
    }
}

/// Goes through all keys that match, of all masters. A key may come more than once.
async fn scan(link: &Link, pattern: &str, mut heard: impl FnMut(Vec<String>)) -> std::result::Result<(), Failure> {
    match &link.kind {
        Kind::Single(_) => {
            let mut cursor = 0;
            loop {
                let (next, keys) = page(link.read(&step(pattern, cursor)).await?)?;
                heard(keys);
                if next == 0 {
                    return Ok(());
                }
                cursor = next;
            }
        }
        Kind::Cluster { connection, .. } => {
            let every = RoutingInfo::MultiNode((MultipleNodeRoutingInfo::AllMasters, Some(ResponsePolicy::Special)));
            let Value::Map(masters) = route(link, connection, &step(pattern, 0), every).await? else { return Err(strange()) };
            for (master, answer) in masters {
                let master: String = from_redis_value(master).map_err(|_| strange())?;
                let (host, port) = master.rsplit_once(':').and_then(|(host, port)| Some((host, port.parse().ok()?))).ok_or_else(strange)?;
                let (mut cursor, keys) = page(answer)?;
                heard(keys);
                while cursor != 0 {
                    let one = RoutingInfo::SingleNode(SingleNodeRoutingInfo::ByAddress { host: host.to_owned(), port });
                    let (next, keys) = page(route(link, connection, &step(pattern, cursor), one).await?)?;
                    heard(keys);
                    cursor = next;
                }
            }
            Ok(())
        }
    }
}

async fn route(link: &Link, connection: &ClusterConnection, cmd: &Cmd, routing: RoutingInfo) -> std::result::Result<Value, Failure> {
    let mut connection = connection.clone();
    Ok(within(link.limit, connection.route_command(cmd.clone(), routing)).await?.extract_error()?)
}

fn step(pattern: &str, cursor: u64) -> Cmd {
    let mut step = cmd("SCAN");
    step.arg(cursor).arg("MATCH").arg(pattern).arg("COUNT").arg(STEP);
    step
}

fn page(answer: Value) -> std::result::Result<(u64, Vec<String>), Failure> {
    from_redis_value(answer).map_err(|_| strange())
}

fn strange() -> Failure {
    Failure::Redis((ErrorKind::UnexpectedReturnType, "an unexpected answer to SCAN").into())
}
