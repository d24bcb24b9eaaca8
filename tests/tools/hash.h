/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Two hashes for comparing file contents: SHA-256, which says "the same" beyond doubt, and a
 * 64-bit one that is cheap enough to run over every byte several times in an emulated guest.
 */
#ifndef REXT4_TOOLS_HASH_H
#define REXT4_TOOLS_HASH_H

#include <stddef.h>
#include <stdint.h>

struct sha256 {
	uint32_t h[8];
	uint64_t bytes;
	unsigned char tail[64];
	size_t fill;
};

void sha256_init(struct sha256 *s);
void sha256_update(struct sha256 *s, const void *data, size_t len);
void sha256_final(struct sha256 *s, unsigned char out[32]);

#define MIX_SEED 0x7265787434ULL

/*
 * Folds len bytes into h. Each step is a bijection of h for a given word and of the word for a
 * given h, so that a difference within one word is never lost. The grouping into calls matters:
 * hash("ab") is not hash("a") followed by hash("b").
 */
uint64_t mix(uint64_t h, const void *data, size_t len);
uint64_t mix_u64(uint64_t h, uint64_t word);

#endif
