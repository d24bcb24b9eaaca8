#!/bin/bash
# SPDX-License-Identifier: GPL-2.0

# What looks like a warning of the kernel.
echo "<4>WARNING: selftest at nowhere" >/dev/kmsg
echo "ok first"
