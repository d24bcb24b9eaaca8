// SPDX-License-Identifier: GPL-2.0

//! What the calling task may do.

use super::bindings;
use kernel::ffi::c_int;

/// Whether the task has CAP_SYS_ADMIN in the initial user namespace.
pub(crate) fn sys_admin() -> bool {
    // SAFETY: looks at the credentials of the current task.
    unsafe { bindings::capable(bindings::CAP_SYS_ADMIN as c_int) }
}

/// Whether the task has CAP_SYS_RESOURCE in the initial user namespace: it may use what is kept
/// back for the administrator.
pub(crate) fn sys_resource() -> bool {
    // SAFETY: as above.
    unsafe { bindings::capable(bindings::CAP_SYS_RESOURCE as c_int) }
}
