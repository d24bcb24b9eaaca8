#!/bin/bash
# SPDX-License-Identifier: GPL-2.0

# One check of two fails; the status alone must not count again.
echo "ok first"
echo "not ok second - on purpose"
exit 1
