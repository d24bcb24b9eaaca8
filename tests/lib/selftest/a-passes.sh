#!/bin/bash
# SPDX-License-Identifier: GPL-2.0

# Checks that pass, and one that does not apply.
echo "ok first"
echo "ok second # SKIP on purpose"
