import type { Browser, Page } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { openBrowser, whyNoBrowser } from './openBrowser';

// Opens the viewer at a running node. BASE_URL (here NODE_URL): its address; STUDY: the UID of a study it holds with a stack of images.
const { NODE_URL = '', STUDY = '' } = process.env;
const reason = !NODE_URL || !STUDY ? 'BASE_URL and STUDY are not set' : whyNoBrowser;
if (reason) console.warn(`browser tests skipped: ${reason}`);

/** How many different grey levels the canvas shows, sampled. A blank canvas has one. */
function countLevels(page: Page): Promise<number> {
  return page.evaluate(() => {
    const canvas = document.querySelector<HTMLCanvasElement>('.image canvas');
    const data = canvas?.getContext('2d')?.getImageData(0, 0, canvas.width, canvas.height).data ?? [];
    const levels = new Set<number>();
    for (let i = 0; i < data.length; i += 4 * 97) levels.add(data[i] ?? 0);
    return levels.size;
  });
}

const count = (page: Page) => page.locator('.corner .count').textContent();
const level = (page: Page) => page.locator('.corner .window').textContent();

describe.skipIf(reason)('the viewer in a browser', () => {
  let browser: Browser;
  let page: Page;
  const violations: string[] = [];
  const outside: string[] = [];

  beforeAll(async () => {
    browser = await openBrowser();
    page = await browser.newPage({ viewport: { width: 1280, height: 800 }, locale: 'fr-FR' });
    page.on('console', (message) => {
      if (message.text().includes('Content Security Policy')) violations.push(message.text());
    });
    page.on('request', (request) => {
      if (!/^(data|blob):/.test(request.url()) && !request.url().startsWith(NODE_URL)) outside.push(request.url());
    });
    await page.goto(`${NODE_URL}/viewer/?StudyInstanceUIDs=${STUDY}`);
    await page.waitForSelector('body[data-state="ready"]', { timeout: 60_000 });
  });

  afterAll(() => browser?.close());

  test('shows the first image of the first series', async () => {
    expect(await countLevels(page)).toBeGreaterThan(8);
    expect(await count(page)).toMatch(/^Image 1 \/ \d+$/);
    expect(await page.locator('.warning').first().textContent()).toBe('Ne pas utiliser pour le diagnostic');
  });

  test('scrolls by wheel and by key', async () => {
    const total = Number(((await count(page)) ?? '').split('/')[1]);
    if (total < 3) return;
    await page.mouse.move(700, 400);
    await page.mouse.wheel(0, 100);
    await expect.poll(() => count(page)).toBe(`Image 2 / ${total}`);
    await page.keyboard.press('ArrowDown');
    await expect.poll(() => count(page)).toBe(`Image 3 / ${total}`);
    await page.keyboard.press('Home');
    await expect.poll(() => count(page)).toBe(`Image 1 / ${total}`);
    expect(await countLevels(page)).toBeGreaterThan(8);
  });

  test('a drag changes the window, and reset brings it back', async () => {
    if (!(await page.locator('.corner .window').count())) return; // a colour image has no window
    const before = await level(page);
    await page.mouse.move(600, 400);
    await page.mouse.down();
    await page.mouse.move(680, 450, { steps: 4 });
    await page.mouse.up();
    await expect.poll(() => level(page)).not.toBe(before);
    expect(await countLevels(page)).toBeGreaterThan(2);
    await page.keyboard.press('r');
    await expect.poll(() => level(page)).toBe(before);
  });

  test('a measured distance is written beside its line', async () => {
    await page.getByRole('button', { name: 'Distance' }).click();
    await page.getByRole('button', { name: 'Distance', pressed: true }).waitFor();
    const written = page.locator('.image svg text').first();
    const measure = async () => {
      await page.mouse.move(600, 400);
      await page.mouse.down();
      await page.mouse.move(700, 460, { steps: 5 });
      await page.mouse.up();
      return written.textContent({ timeout: 2000 }).catch(() => ''); // a busy page takes two clicks for a double one
    };
    await expect.poll(measure).toMatch(/^[\d.]+ (mm|px)/);
    await page.keyboard.press('r');
    await expect.poll(() => page.locator('.image svg text').count()).toBe(0);
  });

  test('draws a picture of the series in the list', async () => {
    const drawn = () =>
      page.evaluate(() => {
        const canvas = document.querySelector<HTMLCanvasElement>('.tile canvas');
        const data = canvas?.getContext('2d')?.getImageData(0, 0, canvas.width, canvas.height).data ?? [];
        return new Set(data).size;
      });
    await expect.poll(drawn, { timeout: 20_000 }).toBeGreaterThan(8);
  });

  test('shows the report of the exam over the images', async () => {
    const answered = page.waitForResponse((one) => one.url().endsWith('/report') && one.request().method() === 'GET');
    await page.getByRole('button', { name: 'Compte rendu' }).click();
    const answer = await answered;
    expect(answer.status()).toBe(200);
    const frame = page.frameLocator('.report iframe');
    if (answer.headers()['content-type']?.startsWith('text/html')) {
      await frame.getByText('Pas d’anomalie').waitFor();
      expect(await frame.locator('script, [onclick], a').count()).toBe(0);
    } else expect(answer.headers()['content-type']).toBe('application/pdf');
    await page.keyboard.press('Escape');
    await expect.poll(() => page.locator('.report').count()).toBe(0);
  });

  test('asks only its own node, within its content security policy', () => {
    expect(outside).toEqual([]);
    expect(violations).toEqual([]);
  });

  test('an unknown study gives words, not a blank page', async () => {
    await page.goto(`${NODE_URL}/viewer/?StudyInstanceUIDs=1.2.3.4.5.6.7.8.9`);
    await page.waitForSelector('body[data-state="error"]', { timeout: 30_000 });
    expect((await page.getByRole('alert').first().textContent())?.length).toBeGreaterThan(20);
  });

  test('the home page lists the studies held', async () => {
    await page.goto(`${NODE_URL}/`);
    await page.waitForSelector('table a.button[href^="/viewer/"]', { timeout: 20_000 });
    expect(await page.locator('#held-here').count()).toBe(1);
  });
});
