import { defineConfig } from 'vitest/config';

export default defineConfig({
  test: {
    include: ['tests/browser/**/*.test.ts'],
    testTimeout: 120_000,
    hookTimeout: 90_000,
    // Vitest gives BASE_URL a meaning of its own inside the tests, so ours goes in under another name.
    env: { NODE_URL: (process.env.BASE_URL ?? '').replace(/\/$/, '') },
  },
});
