//! Sessions: what callers do to them, as transactions of the metadata store.
//!
//! ```text
//! load ──► decide (a pure rule, may refuse) ──► edit: record, marks, indices, event in one transaction ──► commit
//!   ▲                                                                                                        │
//!   └──────────────────────────── somebody else was faster: read again ◄─────────────────────────────────────┘
//! ```
//! Nothing here writes an index by hand: [`Loaded::edit`] derives index changes from the record before and after, so indices stay a function of the records.

mod commit;
mod edit;
mod load;

pub use commit::{Decision, Done, Fingerprint, Op, change};
pub use edit::{Edit, Pending, Prepared, create};
pub use load::{Loaded, load, record_key, state_key};
