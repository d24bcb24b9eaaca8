// SPDX-License-Identifier: GPL-2.0
#include "hash.h"

#include <string.h>

static const uint32_t k[64] = {
	0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4,
	0xab1c5ed5, 0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe,
	0x9bdc06a7, 0xc19bf174, 0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f,
	0x4a7484aa, 0x5cb0a9dc, 0x76f988da, 0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7,
	0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967, 0x27b70a85, 0x2e1b2138, 0x4d2c6dfc,
	0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85, 0xa2bfe8a1, 0xa81a664b,
	0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070, 0x19a4c116,
	0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
	0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7,
	0xc67178f2,
};

static uint32_t ror(uint32_t v, int n)
{
	return (v >> n) | (v << (32 - n));
}

static void block(uint32_t h[8], const unsigned char *p)
{
	uint32_t w[64], s[8];

	for (int i = 0; i < 16; i++) {
		uint32_t v;

		memcpy(&v, p + 4 * i, 4);
		w[i] = __builtin_bswap32(v);
	}
	for (int i = 16; i < 64; i++) {
		uint32_t a = w[i - 15], b = w[i - 2];

		w[i] = w[i - 16] + (ror(a, 7) ^ ror(a, 18) ^ (a >> 3)) + w[i - 7] +
		       (ror(b, 17) ^ ror(b, 19) ^ (b >> 10));
	}
	memcpy(s, h, sizeof(s));
	for (int i = 0; i < 64; i++) {
		uint32_t e = s[4], a = s[0];
		uint32_t t1 = s[7] + (ror(e, 6) ^ ror(e, 11) ^ ror(e, 25)) +
			      ((e & s[5]) ^ (~e & s[6])) + k[i] + w[i];
		uint32_t t2 = (ror(a, 2) ^ ror(a, 13) ^ ror(a, 22)) +
			      ((a & s[1]) ^ (a & s[2]) ^ (s[1] & s[2]));

		memmove(s + 1, s, 7 * sizeof(*s));
		s[4] += t1;
		s[0] = t1 + t2;
	}
	for (int i = 0; i < 8; i++)
		h[i] += s[i];
}

void sha256_init(struct sha256 *s)
{
	static const uint32_t h[8] = { 0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
				       0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19 };

	memcpy(s->h, h, sizeof(h));
	s->bytes = 0;
	s->fill = 0;
}

void sha256_update(struct sha256 *s, const void *data, size_t len)
{
	const unsigned char *p = data;

	s->bytes += len;
	while (len) {
		if (!s->fill && len >= 64) {
			block(s->h, p);
			p += 64;
			len -= 64;
		} else {
			size_t n = 64 - s->fill < len ? 64 - s->fill : len;

			memcpy(s->tail + s->fill, p, n);
			s->fill += n;
			p += n;
			len -= n;
			if (s->fill == 64) {
				block(s->h, s->tail);
				s->fill = 0;
			}
		}
	}
}

void sha256_final(struct sha256 *s, unsigned char out[32])
{
	uint64_t bits = __builtin_bswap64(s->bytes * 8);
	static const unsigned char pad[64] = { 0x80 };

	sha256_update(s, pad, 1 + (119 - s->fill) % 64);
	sha256_update(s, &bits, 8);
	for (int i = 0; i < 8; i++) {
		uint32_t v = __builtin_bswap32(s->h[i]);

		memcpy(out + 4 * i, &v, 4);
	}
}

uint64_t mix_u64(uint64_t h, uint64_t word)
{
	h ^= word * 0x9fb21c651e98df25ULL;
	h = (h << 29) | (h >> 35);
	return h * 0xa0761d6478bd642fULL + 0xe7037ed1a0b428dbULL;
}

uint64_t mix(uint64_t h, const void *data, size_t len)
{
	const unsigned char *p = data;
	size_t n = len;

	for (; n >= 8; n -= 8, p += 8) {
		uint64_t w;

		memcpy(&w, p, 8);
		h = mix_u64(h, w);
	}
	if (n) {
		uint64_t w = 0;

		memcpy(&w, p, n);
		h = mix_u64(h, w);
	}
	h = mix_u64(h, len);
	return h ^ (h >> 31);
}
