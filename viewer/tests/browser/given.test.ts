import type { Browser, Page } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { openBrowser, whyNoBrowser } from './openBrowser';

// Opens an exam from a file at a running node that may call the box the file names. FILE: an XDM medium.
const { NODE_URL = '', FILE = '' } = process.env;
const reason = !NODE_URL || !FILE ? 'BASE_URL and FILE are not set' : whyNoBrowser;
if (reason) console.warn(`browser tests of manifests in files skipped: ${reason}`);

describe.skipIf(reason)('a manifest in a file', () => {
  let browser: Browser;
  let page: Page;

  beforeAll(async () => {
    browser = await openBrowser();
    page = await browser.newPage({ viewport: { width: 1280, height: 900 }, locale: 'fr-FR' });
    await page.goto(`${NODE_URL}/`);
  });

  afterAll(() => browser?.close());

  test('what is no manifest is told in words', async () => {
    const buffer = Buffer.from('PK, but no archive');
    await page.setInputFiles('input[type="file"]', { name: 'x.zip', mimeType: 'application/zip', buffer });
    await page.getByText('Demande refusée').waitFor();
  });

  test('its exam is listed with its patient, and opens', async () => {
    await page.setInputFiles('input[type="file"]', FILE);
    const row = page.locator('section[aria-labelledby="file"] tbody tr');
    await row.waitFor();
    expect(await row.textContent()).toContain('PAT-TROIS');
    await row.getByRole('button', { name: 'Ouvrir' }).click();
    await page.waitForSelector('body[data-state="ready"]', { timeout: 60_000 });
    expect(page.url()).toContain('visit=');
    expect(await page.locator('.corner .count').textContent()).toMatch(/^Image 1 \/ \d+$/);
    await page.getByRole('button', { name: 'Compte rendu' }).click();
    await page.getByRole('alert').waitFor(); // no record is configured here, so nobody can be asked for it
  });
});
