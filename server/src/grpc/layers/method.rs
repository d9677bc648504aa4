//! What the contract says of each method, read from its descriptors: nothing here can drift from the `.proto` files.

use std::{collections::HashMap, sync::Arc};

use prost::Message as _;
use prost_types::{FileDescriptorSet, MethodDescriptorProto};

use super::super::auth::Role;
use crate::model::error::{Error, Reason, Result};

/// How a call uses the daemon: each class has its own bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Class {
    /// One request, one answer: short.
    Unary,
    /// A save or a load: holds memory until its last byte.
    Transfer,
    /// A watch: open for hours, holds next to nothing.
    Watch,
    /// Health and reflection: never refused for load.
    Standard,
}

impl Class {
    /// Its name in metrics and messages.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Unary => "unary",
            Self::Transfer => "transfer",
            Self::Watch => "watch",
            Self::Standard => "standard",
        }
    }
}

/// One method.
#[derive(Debug, PartialEq, Eq)]
pub struct Method {
    /// Full name of the service; `unknown` if the daemon has no such method.
    pub service: Arc<str>,
    /// Its name within the service; `unknown` if the daemon has no such method.
    pub name: Arc<str>,
    /// How it uses the daemon.
    pub class: Class,
    /// The least role that may call it; `None`: everybody, also without credentials.
    pub needs: Option<Role>,
}

/// All methods by their path, such as `/cloakroom.v1.SessionService/GetSession`.
#[derive(Debug)]
pub struct Methods {
    known: HashMap<String, Arc<Method>>,
    unknown: Arc<Method>,
}

/// What readers may call. Whatever is not named here needs a worker, so a new method is never open to readers by accident.
const READS: &[(&str, &[&str])] = &[
    ("cloakroom.v1.SessionService", &["GetSession", "BatchGetSessions", "ListSessions", "GetActiveSession", "ResolveSession", "GetStorageState"]),
    ("cloakroom.v1.ProfileService", &["GetSaveStatus", "LoadProfile", "ListSnapshots", "GetSnapshot", "DiffSnapshots"]),
    ("cloakroom.v1.InvalidationService", &["WatchInvalidations"]),
    ("cloakroom.v1.AdminService", &["GetServerInfo"]),
    ("grpc.reflection.v1.ServerReflection", &["ServerReflectionInfo"]),
    ("grpc.reflection.v1alpha.ServerReflection", &["ServerReflectionInfo"]),
];

impl Methods {
    /// Reads the descriptors of the contract, of health and of reflection.
    ///
    /// # Errors
    /// `INTERNAL` when they are damaged.
    pub fn new() -> Result<Self> {
        let sets = [
            cloakroom_api::FILE_DESCRIPTOR_SET,
            tonic_health::pb::FILE_DESCRIPTOR_SET,
            tonic_reflection::pb::v1::FILE_DESCRIPTOR_SET,
            tonic_reflection::pb::v1alpha::FILE_DESCRIPTOR_SET,
        ];
        let mut known = HashMap::new();
        for set in sets {
            let set =
                FileDescriptorSet::decode(set).map_err(|error| Error::new(Reason::Internal, "the contract's descriptors are damaged").with_source(error))?;
            for file in &set.file {
                for service in &file.service {
                    let service_name: Arc<str> = format!("{}.{}", file.package(), service.name()).into();
                    let methods = service.method.iter().map(|method| (format!("/{service_name}/{}", method.name()), Arc::new(read(&service_name, method))));
                    known.extend(methods);
                }
            }
        }
        let unknown = Method { service: "unknown".into(), name: "unknown".into(), class: Class::Unary, needs: Some(Role::Reader) };
        Ok(Self { known, unknown: Arc::new(unknown) })
    }

    /// The method of a path. All unknown ones are the same, so that nobody can fill the metrics with made-up names.
    #[must_use]
    pub fn find(&self, path: &str) -> Arc<Method> {
        Arc::clone(self.known.get(path).unwrap_or(&self.unknown))
    }

    /// All known methods with their paths.
    pub fn all(&self) -> impl Iterator<Item = (&str, &Method)> {
        self.known.iter().map(|(path, method)| (path.as_str(), &**method))
    }
}

fn read(service: &Arc<str>, method: &MethodDescriptorProto) -> Method {
    let reads = READS.iter().any(|(of, names)| *of == &**service && names.contains(&method.name()));
    let needs = match &**service {
        "grpc.health.v1.Health" => None,
        _ if reads => Some(Role::Reader),
        "cloakroom.v1.AdminService" => Some(Role::Operator),
        _ => Some(Role::Worker),
    };
    let class = match (&**service, method.client_streaming() || method.server_streaming()) {
        (service, _) if service.starts_with("grpc.") => Class::Standard,
        (_, false) => Class::Unary,
        ("cloakroom.v1.InvalidationService", true) => Class::Watch,
        (_, true) => Class::Transfer,
    };
    Method { service: Arc::clone(service), name: method.name().into(), class, needs }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_method_of_the_contract_is_known_with_its_class_and_role() {
        let methods = Methods::new().unwrap();
        let find = |path: &str| {
            let method = methods.find(path);
            (method.class, method.needs)
        };
        assert_eq!(find("/cloakroom.v1.SessionService/GetSession"), (Class::Unary, Some(Role::Reader)));
        assert_eq!(find("/cloakroom.v1.SessionService/CreateSession"), (Class::Unary, Some(Role::Worker)));
        assert_eq!(find("/cloakroom.v1.ProfileService/SaveProfile"), (Class::Transfer, Some(Role::Worker)));
        assert_eq!(find("/cloakroom.v1.ProfileService/LoadProfile"), (Class::Transfer, Some(Role::Reader)));
        assert_eq!(find("/cloakroom.v1.InvalidationService/WatchInvalidations"), (Class::Watch, Some(Role::Reader)));
        assert_eq!(find("/cloakroom.v1.InvalidationService/Invalidate"), (Class::Unary, Some(Role::Worker)));
        assert_eq!(find("/grpc.health.v1.Health/Check"), (Class::Standard, None));
        assert_eq!(find("/grpc.reflection.v1.ServerReflection/ServerReflectionInfo"), (Class::Standard, Some(Role::Reader)));
        assert_eq!(&*methods.find("/made.up/Name").service, "unknown");
    }

    #[test]
    fn what_readers_may_call_exists() {
        let methods = Methods::new().unwrap();
        for (service, names) in READS {
            for name in *names {
                assert_eq!(methods.find(&format!("/{service}/{name}")).needs, Some(Role::Reader), "{service}/{name}");
            }
        }
        let writes = methods.all().filter(|(_, method)| {
            method.needs == Some(Role::Reader) && ["Create", "Update", "Delete", "Put", "Save"].iter().any(|verb| method.name.starts_with(verb))
        });
        assert_eq!(writes.count(), 0);
    }
}
