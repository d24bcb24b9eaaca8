#!/bin/bash
# SPDX-License-Identifier: GPL-2.0

# timeout: 3
# Does not end.
echo "ok first"
sleep 1000
