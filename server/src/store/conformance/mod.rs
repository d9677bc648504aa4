//! The rules of the metadata contract, each an executable function with the rule's name. Every engine runs all of them, plain and with faults:
//!
//! ```text
//! cloakroom_server::conformance!(MyFixture::start().await);
//! ```
//!
//! A rule panics when the engine breaks it. A rule that is missing in the list of [`conformance!`](crate::conformance) is dead code, which the build refuses.

#![expect(clippy::unwrap_used, reason = "a rule that meets something unexpected has failed, and a failed rule panics")]

mod alternatives;
mod atomicity;
mod bounds;
mod counters;
mod crash;
mod differential;
mod expiry;
mod faulty;
mod indices;
mod logs;
pub mod model;
mod operations;
mod records;
pub mod reference;
mod restarts;
mod scene;

use std::sync::Arc;

#[allow(clippy::wildcard_imports, reason = "the list of the rules is in `conformance!`, once; tests' builds do not warn here")]
use self::{
    alternatives::*, atomicity::*, bounds::*, counters::*, crash::*, differential::*, expiry::*, indices::*, logs::*, operations::*, records::*, restarts::*,
};
use super::{
    faults::FaultPlan,
    metadata::{Metadata, Scope},
};
use crate::model::id::Namespace;

/// For runners' own implementations of [`Fixture`].
pub use async_trait::async_trait;
pub use faulty::Faulty;

/// What a runner supplies: one store of the engine under test. Rules choose namespaces that nobody used before.
#[async_trait::async_trait]
pub trait Fixture: Send + Sync {
    /// The store; after [`Self::restart`] the new one.
    fn store(&self) -> Arc<dyn Metadata>;

    /// Ends the engine as a daemon's end does, and opens the same store anew. `false` when the contents of such a store end with it; it must then call itself `memory`.
    async fn restart(&self) -> bool;

    /// Trims a log down to its newest `keep` entries, as its age and number would in time.
    async fn trim(&self, ns: &Namespace, scope: Scope, keep: usize);

    /// The plan that the engine asks after every write step.
    fn faults(&self) -> FaultPlan;
}

/// Makes one test per rule, and one more that fails every commit of the rule after each of its write steps. Rules in the list's brackets plan faults themselves.
///
/// The argument makes a [`Fixture`](crate::store::conformance::Fixture); it may `.await`. The caller needs `tokio` with its macros and its multi-threaded runtime.
#[macro_export]
macro_rules! conformance {
    ($fixture:expr) => {
        $crate::conformance! { @rules [tests [$fixture]] }
    };
    (@rules [$make:ident [$($given:tt)*]]) => {
        $crate::conformance! {
            @$make [$($given)*] [a_fault_after_any_step_leaves_all_or_nothing a_fault_among_concurrent_commits_leaves_each_all_or_nothing]
            alternatives_pick_the_first_that_holds
            each_alternative_names_the_first_thing_against_it
            thirty_two_alternatives_fit
            concurrent_alternatives_share_out_without_collision
            a_refusal_judges_each_alternative_by_the_same_moment
            a_refused_transaction_changes_nothing
            an_empty_transaction_makes_a_revision
            a_refused_commit_makes_no_namespace
            namespaces_are_isolated
            concurrent_creates_have_one_winner
            log_records_and_indices_move_together
            writes_out_of_bounds_are_refused_with_the_field
            indices_out_of_bounds_are_refused_with_the_field
            counters_and_meters_out_of_bounds_are_refused_with_the_field
            commits_out_of_bounds_are_refused_with_the_field
            reads_out_of_bounds_are_refused_with_the_field
            counters_stay_within_bounds_and_move_with_the_txn
            a_negative_delta_is_never_refused_by_the_bound
            counters_meters_and_records_have_their_own_names
            concurrent_adds_never_pass_the_bound
            a_full_burst_is_admitted_at_once
            meters_follow_gcra_and_write_nothing_on_refusal
            a_meter_admits_again_after_the_delay_it_named
            all_meters_and_counters_of_a_transaction_must_agree
            random_operations_agree_with_the_model
            an_expired_indexed_record_is_hidden_but_not_absent
            an_expiry_is_fixed_or_counted_from_the_stores_clock
            a_moment_in_the_past_expires_at_once
            keep_and_forever_say_how_long
            keep_keeps_an_expiry_that_is_past
            a_longer_life_takes_a_record_off_the_sweepers_list
            expired_lists_the_longest_expired_first
            expired_requires_what_waits_for_the_sweeper
            a_sweep_is_a_compare_and_set
            dropped_records_vanish_by_themselves
            a_record_changes_between_swept_and_dropped
            members_are_ordered_by_score_then_by_bytes
            adding_a_member_again_moves_it
            removing_a_missing_member_succeeds
            index_changes_apply_in_their_order
            a_scan_starts_after_its_position_and_keeps_to_its_limit
            scan_pages_are_stable_under_inserts
            a_prefix_selects_its_members
            scores_resolve_inside_the_transaction
            scores_can_be_a_mark_of_the_record_after_the_writes
            revisions_strictly_increase
            revisions_follow_the_store_clock
            each_log_entry_names_the_one_before_it
            a_page_of_a_log_comes_with_its_head
            scopes_do_not_mix
            trimmed_logs_show_it
            watch_wakes_after_commit
            a_watch_is_woken_by_everybodys_commits
            a_history_has_one_name
            a_probe_says_what_the_store_is
            the_same_op_answers_the_first_result
            a_replay_names_the_alternative_and_its_note
            refusals_are_not_remembered
            concurrent_repetitions_apply_once
            without_an_op_every_commit_counts
            what_was_put_is_read_back
            a_reading_answers_in_the_order_of_its_keys
            as_many_records_as_a_page_holds_are_read_at_once
            binary_values_round_trip
            names_may_be_any_text
            put_replaces_value_revision_expiry_and_marks
            touch_keeps_value_and_revision
            a_touch_needs_a_live_record
            deleting_what_is_gone_succeeds
            absent_requires_that_there_is_no_record
            at_requires_the_record_of_that_revision
            mark_requires_the_marks_value
            marks_resolve_inside_the_transaction
            a_mark_is_kept_also_by_a_revival
            numbers_up_to_two_to_the_53_are_exact
            a_reading_is_one_moment
            concurrent_changes_of_one_record_all_count
            what_was_acknowledged_survives_a_restart
            revisions_increase_across_a_restart
        }
    };
    (@tests [$fixture:expr] [$($own_faults:ident)*] $($rule:ident)*) => {
        mod rule {
            use super::*;
            $crate::conformance! { @each [$fixture] $($own_faults)* $($rule)* }
        }
        mod rule_under_faults {
            use super::*;
            $crate::conformance! { @each [$crate::store::conformance::Faulty::new(&$fixture)] $($rule)* }
        }
    };
    (@each [$fixture:expr] $($rule:ident)*) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $rule() {
                $crate::store::conformance::rules::$rule(&$fixture).await;
            }
        )*
    };
    (@functions [] [$($own_faults:ident)*] $($rule:ident)*) => {
        $crate::conformance! { @function $($own_faults)* $($rule)* }
    };
    (@function $($rule:ident)*) => {
        $(
            #[doc = concat!("The rule `", stringify!($rule), "`.")]
            pub async fn $rule(fixture: &dyn super::Fixture) {
                super::$rule(fixture).await;
            }
        )*
    };
}

/// The rules, for a runner that wants to call them one by one.
pub mod rules {
    crate::conformance! { @rules [functions []] }
}
