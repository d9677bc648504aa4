//! A door to the readers of key records, under fixed keys.

use bytes::Bytes;

use super::{
    LineageKey, MasterKeys, NamespaceKeys,
    keys::{make_check, open_check},
};
use crate::model::{
    error::Result,
    id::{LineageId, Namespace},
};

/// A namespace's key record under the master key of all bytes 7, and a lineage's below it: made once by this module's own code, for sealing is random.
const NAMESPACE: &[u8] = include_bytes!("../../../../tests/fuzz/seeds/key_record/namespace.json");
const LINEAGE: &[u8] = include_bytes!("../../../../tests/fuzz/seeds/key_record/lineage.json");

/// Fixed keys of a namespace and of a lineage.
#[derive(Debug)]
pub struct Keys {
    master: MasterKeys,
    namespace: NamespaceKeys,
    lineage: LineageKey,
}

impl Keys {
    /// The lineage's id.
    pub const ID: LineageId = LineageId([3; 16]);

    /// Opens them.
    ///
    /// # Errors
    /// `DATA_CORRUPT` when the records above were changed.
    pub fn open() -> Result<Self> {
        let master = Self::master()?;
        let namespace = NamespaceKeys::unwrap(&Namespace::default(), &master, NAMESPACE)?;
        let lineage = LineageKey::unwrap(&namespace, Self::ID, Bytes::from_static(LINEAGE))?;
        Ok(Self { master, namespace, lineage })
    }

    /// Fresh records under the same master key: of a namespace, of a lineage, and the check.
    ///
    /// # Errors
    /// `INTERNAL` when there are no random numbers.
    pub fn fresh() -> Result<[Bytes; 3]> {
        let master = Self::master()?;
        let namespace = NamespaceKeys::generate(&Namespace::default(), &master)?;
        let lineage = LineageKey::generate(&namespace, Self::ID)?;
        Ok([namespace.wrap(&master)?, lineage.record().clone(), make_check(&master)?])
    }

    fn master() -> Result<MasterKeys> {
        MasterKeys::parse("the fuzz targets", &"07".repeat(32))
    }

    /// The lineage's key.
    #[must_use]
    pub fn lineage(&self) -> &LineageKey {
        &self.lineage
    }

    /// Reads a record as a namespace's keys; answers how they sign.
    ///
    /// # Errors
    /// `DATA_CORRUPT`, `KEY_UNAVAILABLE`.
    ///
    /// # Panics
    /// When they do not read back once they are wrapped anew.
    pub fn namespace_record(&self, record: &[u8]) -> Result<[String; 2]> {
        let signs = |keys: &NamespaceKeys| [keys.email_hmac("a@b.c"), format!("{:?}", keys.token_mac("fuzz", b"token"))];
        let keys = NamespaceKeys::unwrap(&Namespace::default(), &self.master, record)?;
        let again = NamespaceKeys::unwrap(&Namespace::default(), &self.master, &keys.wrap(&self.master)?)?;
        assert_eq!(signs(&again), signs(&keys), "a namespace's keys read back");
        Ok(signs(&keys))
    }

    /// Reads a record as a lineage's key; answers its version.
    ///
    /// # Errors
    /// `DATA_CORRUPT`, `KEY_UNAVAILABLE`.
    pub fn lineage_record(&self, record: &[u8]) -> Result<u32> {
        LineageKey::unwrap(&self.namespace, Self::ID, Bytes::copy_from_slice(record)).map(|key| key.version())
    }

    /// Reads a record as the key check.
    ///
    /// # Errors
    /// `DATA_CORRUPT`, `KEY_UNAVAILABLE`.
    pub fn check_record(&self, record: &[u8]) -> Result<()> {
        open_check(&self.master, record)
    }
}
