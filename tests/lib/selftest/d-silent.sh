#!/bin/bash
# SPDX-License-Identifier: GPL-2.0

# Fails without saying so.
echo "ok first"
exit 3
