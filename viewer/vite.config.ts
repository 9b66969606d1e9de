import { resolve } from 'node:path';
import { defineConfig } from 'vitest/config';

export default defineConfig({
  // Both pages work wherever they are served from: portal.html at "/" names its assets "./assets/…", which would
  // miss them, so the base is the one path the server gives to all built files.
  base: '/viewer/',
  build: {
    outDir: '../drimbox/portal/static/viewer',
    emptyOutDir: true,
    target: 'es2022',
    chunkSizeWarningLimit: 4000,
    rolldownOptions: {
      input: { index: resolve(import.meta.dirname, 'index.html'), portal: resolve(import.meta.dirname, 'portal.html') },
    },
  },
  worker: { format: 'es' },
  optimizeDeps: { exclude: ['@cornerstonejs/dicom-image-loader'], include: ['dicom-parser'] },
  test: { include: ['tests/unit/**/*.test.ts'] },
});
