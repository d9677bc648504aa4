//! Reads Chromium's cookie database, which comes from a worker and so may be anything: in memory, read-only, in SQLite's defensive mode, without views, triggers and trusted
//! functions, and with an end to its size, its rows and its steps. Values are digested where they are read and never leave this file.

use std::io::Cursor;

use ring::digest::{Context, SHA256};
use rusqlite::{
    Connection, MAIN_DB, OptionalExtension as _, Row,
    config::DbConfig,
    limits::Limit,
    types::{Type, ValueRef},
};

use crate::{
    clock,
    model::{
        cookies::{CookieDigest, CookieId, Cookies},
        tree::Root,
    },
};

/// Largest database, in bytes. Chromium keeps at most 3,300 cookies of some KiB.
pub const MAX_DATABASE: u64 = 32 << 20;
/// Most cookies.
const MAX_ROWS: usize = 50_000;
/// Longest value of a column, in bytes.
const MAX_VALUE: i32 = 1 << 20;
/// Steps of SQLite's machine between two looks, and how many looks: less than a second's work.
const STEPS: i32 = 10_000;
const LOOKS: u32 = 1_000;
/// Where a database's header says that it uses a write-ahead log.
const FORMATS: std::ops::Range<usize> = 18..20;
/// First bytes of every database.
const MAGIC: &[u8] = b"SQLite format 3\0";
/// Columns by which the browser tells cookies apart, beside host, name and path; those of its version.
const APART: [&str; 4] = ["top_frame_site_key", "has_cross_site_ancestor", "source_scheme", "source_port"];
/// What a cookie's value consists of, and what else of it counts as a change.
const VALUE: [&str; 2] = ["value", "encrypted_value"];
const ATTRIBUTES: [&str; 6] = ["expires_utc", "has_expires", "is_persistent", "is_secure", "is_httponly", "samesite"];

/// A key for digests, so that nobody who sees two can guess at a value. Databases are comparable that are read with the same one.
#[derive(Debug)]
pub struct DigestKey([u8; 32]);

impl DigestKey {
    /// A new key.
    ///
    /// # Errors
    /// `INTERNAL` when the operating system gives no random numbers.
    pub fn new() -> crate::Result<Self> {
        clock::random().map(Self)
    }
}

/// Reads the cookies of a database.
///
/// # Errors
/// Why it cannot be read, for a person; nothing of its content.
pub fn read(mut database: Vec<u8>, key: &DigestKey) -> Result<Cookies, String> {
    if database.len() as u64 > MAX_DATABASE {
        return Err(format!("it has {} bytes; at most {MAX_DATABASE} are read", database.len()));
    }
    if !database.starts_with(MAGIC) {
        return Err("it is not an SQLite database".to_owned());
    }
    // Whoever calls has seen that there is no log with changes, so the main file is all there is; but SQLite would look for one, and memory has none.
    if let Some(formats) = database.get_mut(FORMATS) {
        formats.fill(1);
    }
    let length = database.len();
    open(database).map_err(Refusal::from).and_then(|connection| rows(&connection, length, key)).map_err(|refusal| explain(&refusal))
}

/// Why a database is not read.
enum Refusal {
    Sqlite(rusqlite::Error),
    NoTable,
    TooMany,
    Damaged,
}

impl From<rusqlite::Error> for Refusal {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sqlite(error)
    }
}

/// SQLite's own messages may quote what stands in the file, so they are not passed on.
fn explain(refusal: &Refusal) -> String {
    use rusqlite::ErrorCode as Code;
    match refusal {
        Refusal::NoTable => "it has no table of cookies".to_owned(),
        Refusal::TooMany => format!("it has more than {MAX_ROWS} cookies"),
        Refusal::Damaged => "it is damaged".to_owned(),
        Refusal::Sqlite(error) => match error.sqlite_error_code() {
            Some(Code::OperationInterrupted) => "reading it takes too long".to_owned(),
            Some(Code::DatabaseCorrupt | Code::NotADatabase) => "it is damaged".to_owned(),
            Some(Code::TooBig) => "a value in it is too long".to_owned(),
            code => format!("SQLite cannot read it ({code:?})"),
        },
    }
}

fn open(database: Vec<u8>) -> rusqlite::Result<Connection> {
    let mut connection = Connection::open_in_memory()?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true)?;
    for off in [DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, DbConfig::SQLITE_DBCONFIG_ENABLE_VIEW, DbConfig::SQLITE_DBCONFIG_ENABLE_TRIGGER] {
        connection.set_db_config(off, false)?;
    }
    connection.set_limit(Limit::SQLITE_LIMIT_LENGTH, MAX_VALUE)?;
    connection.set_limit(Limit::SQLITE_LIMIT_ATTACHED, 0)?;
    let mut looks = 0;
    connection.progress_handler(
        STEPS,
        Some(move || {
            looks += 1;
            looks > LOOKS
        }),
    )?;
    let length = database.len();
    connection.deserialize_read_exact(MAIN_DB, Cursor::new(database), length, true)?;
    connection.pragma_update(None, "cell_size_check", true)?;
    Ok(connection)
}

fn rows(connection: &Connection, length: usize, key: &DigestKey) -> Result<Cookies, Refusal> {
    // A view and a virtual table have no page of their own.
    let table = "SELECT name FROM sqlite_schema WHERE type = 'table' AND name = 'cookies' AND rootpage > 0";
    connection.query_row(table, [], |_| Ok(())).optional()?.ok_or(Refusal::NoTable)?;
    // Columns that are computed are not among these: nothing of the file is ever run.
    let mut columns = Vec::new();
    connection.pragma(None, "table_info", "cookies", |row| {
        columns.push(row.get::<_, String>("name")?);
        Ok(())
    })?;
    let has = |name: &str| columns.iter().any(|column| column == name);
    if !has("host_key") || !has("name") {
        return Err(Refusal::NoTable);
    }
    // Only names of ours enter the statement.
    let wanted = ["host_key", "name", "path"].into_iter().chain(APART).chain(VALUE).chain(ATTRIBUTES);
    let listed: Vec<String> = wanted.map(|name| if has(name) { name.to_owned() } else { "''".to_owned() }).collect();
    let mut statement = connection.prepare(&format!("SELECT {} FROM cookies", listed.join(", ")))?;
    let mut rows = statement.query([])?;
    let (mut cookies, mut texts) = (Cookies::new(), 0);
    while let Some(row) = rows.next()? {
        if cookies.len() == MAX_ROWS {
            return Err(Refusal::TooMany);
        }
        let (apart, value) = (3 + APART.len(), 3 + APART.len() + VALUE.len());
        let rest = (3..apart).map(|column| text(row, column)).collect::<rusqlite::Result<Vec<_>>>()?;
        let id = CookieId { host: text(row, 0)?, name: text(row, 1)?, path: text(row, 2)?, rest };
        // Cells of a damaged database can share pages, and so hold more than there is.
        texts += id.host.len() + id.name.len() + id.path.len() + id.rest.iter().map(String::len).sum::<usize>();
        if texts > 2 * length {
            return Err(Refusal::Damaged);
        }
        let digests = CookieDigest { value: digest(row, apart..value, key)?, attributes: digest(row, value..value + ATTRIBUTES.len(), key)? };
        cookies.insert(id, digests);
    }
    Ok(cookies)
}

fn text(row: &Row<'_>, column: usize) -> rusqlite::Result<String> {
    Ok(match row.get_ref(column)? {
        ValueRef::Text(bytes) | ValueRef::Blob(bytes) => String::from_utf8_lossy(bytes).into_owned(),
        ValueRef::Integer(number) => number.to_string(),
        ValueRef::Real(number) => number.to_string(),
        ValueRef::Null => String::new(),
    })
}

fn digest(row: &Row<'_>, columns: std::ops::Range<usize>, key: &DigestKey) -> rusqlite::Result<Root> {
    let mut context = Context::new(&SHA256);
    context.update(&key.0);
    for column in columns {
        let value = row.get_ref(column)?;
        let number;
        let (kind, bytes): (Type, &[u8]) = match value {
            ValueRef::Null => (Type::Null, &[]),
            ValueRef::Integer(integer) => {
                number = integer.to_be_bytes();
                (Type::Integer, &number)
            }
            ValueRef::Real(real) => {
                number = real.to_be_bytes();
                (Type::Real, &number)
            }
            ValueRef::Text(bytes) => (Type::Text, bytes),
            ValueRef::Blob(bytes) => (Type::Blob, bytes),
        };
        context.update(&[kind as u8]);
        context.update(&(bytes.len() as u64).to_be_bytes());
        context.update(bytes);
    }
    let mut root = Root::default();
    root.copy_from_slice(context.finish().as_ref());
    Ok(root)
}

#[cfg(test)]
pub(crate) mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::cookies::{CookieChange, compare};

    /// A database as these statements make it.
    pub(crate) fn database(statements: &str) -> Vec<u8> {
        let mut connection = Connection::open_in_memory().unwrap();
        connection.execute_batch(statements).unwrap();
        connection.serialize(MAIN_DB).unwrap().to_vec()
    }

    /// The table as Chromium 140 makes it, as far as it is read, with these rows of host, name, value and expiry.
    pub(crate) fn chromium(rows: &[(&str, &str, &str, i64)]) -> Vec<u8> {
        let table = "CREATE TABLE cookies(creation_utc INTEGER, host_key TEXT, top_frame_site_key TEXT, name TEXT, value TEXT, encrypted_value BLOB, path TEXT, expires_utc
            INTEGER, is_secure INTEGER, is_httponly INTEGER, last_access_utc INTEGER, has_expires INTEGER, is_persistent INTEGER, priority INTEGER, samesite INTEGER, source_scheme
            INTEGER, source_port INTEGER, last_update_utc INTEGER, source_type INTEGER, has_cross_site_ancestor INTEGER);";
        let row = |(host, name, value, expires): &(&str, &str, &str, i64)| {
            format!("INSERT INTO cookies VALUES(1,'{host}','','{name}','',x'{value}','/',{expires},1,1,random(),1,1,1,0,2,443,random(),0,0);")
        };
        database(&(table.to_owned() + &rows.iter().map(row).collect::<String>()))
    }

    fn key() -> DigestKey {
        DigestKey([7; 32])
    }

    #[test]
    fn cookies_are_told_apart_and_their_last_use_is_no_change() {
        let before = read(chromium(&[("a.test", "sid", "01", 5), ("a.test", "old", "01", 5), (".b.test", "life", "01", 5)]), &key()).unwrap();
        let after = read(chromium(&[("a.test", "sid", "02", 5), (".b.test", "life", "01", 6), ("a.test", "new", "01", 5)]), &key()).unwrap();
        assert_eq!(before.len(), 3);
        let differing = compare(&before, &after);
        let told: Vec<_> = differing.iter().map(|(id, change)| (id.host.as_str(), id.name.as_str(), id.path.as_str(), *change)).collect();
        let changed = |value, attributes| CookieChange::Changed { value, attributes };
        let wanted = [(".b.test", "life", changed(false, true)), ("a.test", "new", CookieChange::Added), ("a.test", "old", CookieChange::Removed)];
        let wanted = wanted.into_iter().chain([("a.test", "sid", changed(true, false))]);
        assert_eq!(told, wanted.map(|(host, name, change)| (host, name, "/", change)).collect::<Vec<_>>());
        let again = read(chromium(&[("a.test", "sid", "01", 5), ("a.test", "old", "01", 5), (".b.test", "life", "01", 5)]), &key()).unwrap();
        assert_eq!(again, before, "last access and last update differ, and do not count");
    }

    #[test]
    fn a_database_in_wal_mode_whose_log_is_empty_is_read() {
        let mut wal = chromium(&[("a.test", "sid", "01", 5)]);
        wal[FORMATS].fill(2);
        assert_eq!(read(wal, &key()).unwrap().len(), 1);
    }

    #[test]
    fn an_old_table_without_the_newer_columns_is_read() {
        let old = database(
            "CREATE TABLE cookies(host_key TEXT, name TEXT, value TEXT, path TEXT, expires_utc INTEGER); INSERT INTO cookies VALUES('h','n','v','/',1);",
        );
        assert_eq!(read(old, &key()).unwrap().keys().next().unwrap().host, "h");
    }

    #[test]
    fn what_is_no_cookie_database_says_so_without_its_content() {
        let refused = |bytes: Vec<u8>| read(bytes, &key()).unwrap_err();
        assert_eq!(refused(b"secret-value".to_vec()), "it is not an SQLite database");
        assert_eq!(refused(database("CREATE TABLE other(secret TEXT);")), "it has no table of cookies");
        assert_eq!(refused(database("CREATE TABLE cookies(secret TEXT);")), "it has no table of cookies");
        let view = "CREATE TABLE t(host_key, name); CREATE VIEW cookies AS SELECT * FROM t;";
        assert_eq!(refused(database(view)), "it has no table of cookies");
        let mut cut = chromium(&vec![("a.test", "secret-name", "01", 5); 500]);
        cut.truncate(cut.len() / 2);
        let why = refused(cut);
        assert!(!why.contains("secret") && why.starts_with("it is damaged"), "{why}");
        assert!(refused([MAGIC, &vec![0; 40 << 20]].concat()).contains("at most"));
    }

    #[test]
    fn a_table_without_end_is_given_up_by_rows_or_by_steps() {
        let rows = |count: u32, name: &str| {
            let table = "CREATE TABLE cookies(host_key TEXT, name TEXT, path TEXT AS (hex(zeroblob(900000))));";
            let many = format!(
                "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {count}) INSERT INTO cookies(host_key, name) SELECT '', {name} FROM n;"
            );
            database(&(table.to_owned() + &many))
        };
        assert_eq!(read(rows(100, "i"), &key()).unwrap().len(), 100, "what a column would compute is not computed");
        assert_eq!(read(rows(60_000, "i"), &key()).unwrap_err(), "it has more than 50000 cookies");
        assert_eq!(read(rows(700_000, "''"), &key()).unwrap_err(), "reading it takes too long");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(300))]
        #[test]
        fn a_damaged_database_is_an_error_or_cookies_and_never_a_panic(places in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..40)) {
            let mut bytes = chromium(&[("a.test", "sid", "0102", 5), ("b.test", "x", "03", 6)]);
            for (place, byte) in places {
                let at = place.index(bytes.len());
                bytes[at] = byte;
            }
            drop(read(bytes, &key()));
        }
    }
}
