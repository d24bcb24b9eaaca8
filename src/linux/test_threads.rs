// SPDX-License-Identifier: GPL-2.0

//! Several tasks at once, for tests.

use super::bindings;
use core::ptr;
use kernel::{
    error::from_err_ptr,
    ffi::{c_int, c_void},
    prelude::*,
    sync::Completion,
};

/// What a thread is to do.
#[pin_data]
struct Job<'a> {
    f: &'a (dyn Fn(usize) + Sync),
    number: usize,
    #[pin]
    done: Completion,
}

/// The task of a job.
struct Running<'a> {
    job: Pin<KBox<Job<'a>>>,
    /// NULL if it could not be made.
    task: *mut bindings::task_struct,
}

/// # Safety
///
/// `job` must be a [`Job`] that lives until it is done.
unsafe extern "C" fn run(job: *mut c_void) -> c_int {
    // SAFETY: by contract.
    let job = unsafe { &*job.cast::<Job<'_>>() };
    (job.f)(job.number);
    job.done.complete_all();
    0
}

/// Runs `f` with 0 to `n` - 1, each in a task of its own, all at the same time; returns when all have
/// ended.
///
/// Errors: ENOMEM; some of them have run then.
pub(crate) fn in_parallel(n: usize, f: &(dyn Fn(usize) + Sync)) -> Result {
    let mut all = KVec::with_capacity(n, GFP_KERNEL)?;
    for number in 0..n {
        let job = KBox::pin_init(
            pin_init!(Job { f, number, done <- Completion::new() }),
            GFP_KERNEL,
        )?;
        all.push_within_capacity(Running {
            job,
            task: ptr::null_mut(),
        })
        .map_err(|_| ENOMEM)?;
    }
    let mut result = Ok(());
    for running in all.iter_mut() {
        let data: *const Job<'_> = &*running.job;
        // SAFETY: `run` gets the job, which lives until the thread has ended, below. The thread does
        // not run before it is woken, so it cannot have ended when the reference is taken.
        let made = from_err_ptr(unsafe {
            bindings::kthread_create_on_node(
                Some(run),
                data.cast_mut().cast(),
                bindings::NUMA_NO_NODE,
                c"rext4-test".as_char_ptr(),
            )
        });
        match made {
            Ok(task) => {
                running.task = task;
                // SAFETY: see above.
                unsafe {
                    bindings::get_task_struct(task);
                    bindings::wake_up_process(task);
                }
            }
            Err(e) => result = Err(e),
        }
    }
    for running in all.iter() {
        if running.task.is_null() {
            continue;
        }
        running.job.done.wait_for_completion();
        // SAFETY: the task is ours by its reference, which is dropped here. It has been through all
        // of `f`, and has left the module's code when this returns.
        unsafe {
            bindings::kthread_stop(running.task);
            bindings::put_task_struct(running.task);
        }
    }
    result
}
