#!/bin/bash
# SPDX-License-Identifier: GPL-2.0

# Runs although the guest of the case before it died.
echo "ok first"
