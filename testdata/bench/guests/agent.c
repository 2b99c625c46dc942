/* The C guest of the benchmark: an ordinary WASI command built with wasi-libc.
 * Its first argument says what to do. */
#include <fcntl.h>
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Reads n files of 1 KiB whole, each until its end. */
static int reads(int n) {
  char name[64], buf[2048];
  for (int i = 0; i < n; i++) {
    snprintf(name, sizeof name, "docs/%02d/f%05d.txt", i % 100, i);
    int fd = open(name, O_RDONLY);
    if (fd < 0) return 1;
    ssize_t total = 0, got;
    while ((got = read(fd, buf, sizeof buf)) > 0) total += got;
    close(fd);
    if (got < 0 || total != 1024) return 1;
  }
  return 0;
}

/* Reads one large file in pieces of 1 MiB. */
static int big(void) {
  static char buf[1 << 20];
  int fd = open("big.bin", O_RDONLY);
  if (fd < 0) return 1;
  ssize_t got;
  while ((got = read(fd, buf, sizeof buf)) > 0) {
  }
  close(fd);
  return got < 0;
}

static const uint32_t K[64] = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2};

#define ROR(x, n) (((x) >> (n)) | ((x) << (32 - (n))))

static void compress(uint32_t h[8], const uint8_t *p) {
  uint32_t w[64], s[8];
  for (int i = 0; i < 16; i++)
    w[i] = (uint32_t)p[4 * i] << 24 | p[4 * i + 1] << 16 | p[4 * i + 2] << 8 | p[4 * i + 3];
  for (int i = 16; i < 64; i++) {
    uint32_t a = w[i - 15], b = w[i - 2];
    w[i] = w[i - 16] + (ROR(a, 7) ^ ROR(a, 18) ^ a >> 3) + w[i - 7] + (ROR(b, 17) ^ ROR(b, 19) ^ b >> 10);
  }
  memcpy(s, h, sizeof s);
  for (int i = 0; i < 64; i++) {
    uint32_t t1 = s[7] + (ROR(s[4], 6) ^ ROR(s[4], 11) ^ ROR(s[4], 25)) + ((s[4] & s[5]) ^ (~s[4] & s[6])) + K[i] + w[i];
    uint32_t t2 = (ROR(s[0], 2) ^ ROR(s[0], 13) ^ ROR(s[0], 22)) + ((s[0] & s[1]) ^ (s[0] & s[2]) ^ (s[1] & s[2]));
    memmove(s + 1, s, 7 * sizeof *s);
    s[4] += t1;
    s[0] = t1 + t2;
  }
  for (int i = 0; i < 8; i++) h[i] += s[i];
}

/* Compresses 64 KiB n times, as SHA-256 does. */
static uint32_t hashes(int n) {
  static uint8_t block[64 << 10];
  uint32_t h[8] = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
  for (int i = 0; i < n; i++)
    for (size_t at = 0; at < sizeof block; at += 64) compress(h, block + at);
  return h[0];
}

struct body {
  double x, y, z, vx, vy, vz, mass;
};

/* Moves five bodies n steps. */
static double nbody(int n) {
  struct body b[5];
  for (int i = 0; i < 5; i++) {
    double f = i + 1;
    b[i] = (struct body){f * 1.5, f * -0.7, f * 0.3, 0.1 / f, 0.2 / f, -0.3 / f, 1 / f};
  }
  for (int s = 0; s < n; s++) {
    for (int i = 0; i < 5; i++)
      for (int j = i + 1; j < 5; j++) {
        double dx = b[i].x - b[j].x, dy = b[i].y - b[j].y, dz = b[i].z - b[j].z;
        double d = dx * dx + dy * dy + dz * dz + 0.01, mag = 0.001 / (d * sqrt(d));
        b[i].vx -= dx * b[j].mass * mag;
        b[i].vy -= dy * b[j].mass * mag;
        b[i].vz -= dz * b[j].mass * mag;
        b[j].vx += dx * b[i].mass * mag;
        b[j].vy += dy * b[i].mass * mag;
        b[j].vz += dz * b[i].mass * mag;
      }
    for (int i = 0; i < 5; i++) {
      b[i].x += 0.001 * b[i].vx;
      b[i].y += 0.001 * b[i].vy;
      b[i].z += 0.001 * b[i].vz;
    }
  }
  return b[0].x;
}

static int ascending(const void *a, const void *b) {
  uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
  return (x > y) - (x < y);
}

/* Sorts 10,000 numbers n times. */
static uint32_t sorts(int n) {
  static uint32_t numbers[10000];
  uint32_t state = 1;
  for (int i = 0; i < n; i++) {
    for (int j = 0; j < 10000; j++) numbers[j] = state = state * 1664525 + 1013904223;
    qsort(numbers, 10000, sizeof *numbers, ascending);
  }
  return numbers[0];
}

int main(int argc, char **argv) {
  const char *verb = argc > 1 ? argv[1] : "hello";
  int n = argc > 2 ? atoi(argv[2]) : 0;
  if (!strcmp(verb, "reads")) {
    if (reads(n)) return 1;
  } else if (!strcmp(verb, "big")) {
    if (big()) return 1;
  } else if (!strcmp(verb, "sha256")) {
    n = (int)hashes(n);
  } else if (!strcmp(verb, "nbody")) {
    n = (int)(1e6 * nbody(n));
  } else if (!strcmp(verb, "qsort")) {
    n = (int)sorts(n);
  }
  printf("{\"answer\":%d}\n", n);
  return 0;
}
