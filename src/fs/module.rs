// SPDX-License-Identifier: GPL-2.0

//! The module: what loading registers, and in which order it goes away.

use super::{mount::Mount, sysfs, Rext4Fs, INODE_CACHE};
use crate::linux::{
    delay::Delays, direct::BiosGuard, fs_type::Registration, inode::InodeCacheGuard,
    surfaces::TypeDirs,
};
use kernel::prelude::*;

/// The loaded module. Fields are dropped from top to bottom: first nobody can mount any more,
/// then the caches go.
pub(crate) struct Rext4 {
    _compatible: [Option<Pin<KBox<Registration>>>; 3],
    _own: Pin<KBox<Registration>>,
    _inodes: InodeCacheGuard<Rext4Fs>,
    _bios: BiosGuard,
    _delays: Delays,
}

impl kernel::Module for Rext4 {
    fn init(module: &'static ThisModule) -> Result<Self> {
        let inodes = INODE_CACHE.create(c"rext4_inode_cache")?;
        let bios = BiosGuard::new()?;
        let dirs = TypeDirs::new(c"rext4", sysfs::FEATURES)?;
        // What may fail comes before the first name that can be mounted: a failing module goes
        // without asking whether somebody uses it already. The name ext4 may well be taken, the
        // name rext4 is this module's alone, and the memory for it is here.
        let memory = KBox::<Registration>::new_uninit(GFP_KERNEL)?;
        let mut compatible = [const { None }; 3];
        if crate::module_parameters::ext4.value() != 0 {
            let ext4 = KBox::pin_init(Registration::new::<Mount>(c"ext4", module), GFP_KERNEL)
                .inspect_err(|_| pr_err!("the name ext4 is taken: is ext4.ko loaded?\n"))?;
            // Whoever has the name has the directories of that name. Without, nothing is shown.
            let dirs = TypeDirs::new(c"ext4", sysfs::FEATURES).ok();
            if let Some(dirs) = &dirs {
                ext4.set_dirs(dirs.clone());
            }
            let [first, others @ ..] = &mut compatible;
            *first = Some(ext4);
            for (place, name) in others.iter_mut().zip([c"ext3", c"ext2"]) {
                // Whoever has these names may keep them.
                if let Ok(other) =
                    KBox::pin_init(Registration::new::<Mount>(name, module), GFP_KERNEL)
                {
                    if let Some(dirs) = &dirs {
                        other.set_dirs(dirs.clone());
                    }
                    *place = Some(other);
                }
            }
        }
        let own = memory.write_pin_init(Registration::new::<Mount>(c"rext4", module))?;
        own.set_dirs(dirs);
        Ok(Self {
            _compatible: compatible,
            _own: own,
            _inodes: inodes,
            _bios: bios,
            _delays: Delays::new(),
        })
    }
}
