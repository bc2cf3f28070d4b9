"""The engine tests that NamespaceEngine holds: all but those named here, each with the reason."""

from __future__ import annotations

import os
from types import ModuleType

from tests.engine import test_async, test_engine, test_files, test_lifecycle, test_verbs

NOT_HELD = {
    "test_the_quickstart": "of the real engine: tests/unit/test_examples.py has this one's",
    "test_output_is_bounded": "a client of the real engine's state directory, and so are those that follow",
    "test_a_start_that_times_out_leaves_no_process": "it starts too fast",
    "test_ctrl_c_leaves_nothing": "",
    "test_an_owner_that_is_killed_is_reaped": "",
    "test_the_watchdog_removes_machines_of_a_killed_owner": "",
    "test_a_boot_that_fails": "",
    "test_an_engine_behind_a_prefix": "",
    "test_a_life_behind_a_link": "",
    "test_calls_are_observed": "",
    "test_many_at_once_on_a_fresh_host": "",
    "test_a_network_policy_holds_for_a_machine_that_runs": "no allow lists",
    "test_update_of_a_stopped_machine": "no allow lists",
    "test_a_hostile_guest_is_refused": "the guest's root makes no devices",
    "test_branches_of_a_running_machine": "branches do not have the memory",
    "test_stats_logs_events_and_mounts": "no egress events, live mounts and lists of images",
    "test_directories_of_the_host": "no live mounts",
}
# Of users that are not root, the guests have no other user than root.
NEED_USERS = {
    "test_users_of_a_bare_machine",
    "test_an_image_machine_runs_commands",
    "test_files_of_any_name_and_content",
    "test_a_nasty_tree_of_another_user",
    "test_a_nasty_tree_is_downloaded_exactly",
}


def held(module: ModuleType) -> dict[str, object]:
    """Return a module's tests and fixtures, without those that are not held."""
    return {
        name: value
        for name, value in vars(module).items()
        if name not in NOT_HELD
        and (os.geteuid() == 0 or name not in NEED_USERS)
        and (name.startswith("test_") or type(value).__name__ == "FixtureFunctionDefinition")
    }


for of in (test_async, test_engine, test_files, test_lifecycle, test_verbs):
    globals().update(held(of))
