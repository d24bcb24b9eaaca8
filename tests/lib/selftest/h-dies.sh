#!/bin/bash
# SPDX-License-Identifier: GPL-2.0

# Takes the guest with it.
echo c >/proc/sysrq-trigger
sleep 60
