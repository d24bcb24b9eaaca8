#!/bin/bash
# SPDX-License-Identifier: GPL-2.0

# Leaves a mount behind.
mkdir /tmp/left
mount -t tmpfs left /tmp/left
echo "ok first"
