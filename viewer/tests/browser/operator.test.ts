import type { Browser, Page } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { openBrowser, whyNoBrowser } from './openBrowser';

// Decides about items of the outbox of a running node. ITEM: the number of one that waits, and of no other.
const { NODE_URL = '', ITEM = '' } = process.env;
const reason = !NODE_URL || !ITEM ? 'BASE_URL and ITEM are not set' : whyNoBrowser;
if (reason) console.warn(`browser tests of the operator's page skipped: ${reason}`);

describe.skipIf(reason)('the operator’s page in a browser', () => {
  let browser: Browser;
  let page: Page;
  const row = () => page.locator(`tr[data-item="${ITEM}"]`);
  const state = () => row().locator('.state').textContent();
  const button = (name: string) => row().getByRole('button', { name, exact: true });
  const dialog = () => page.getByRole('dialog');
  const violations: string[] = [];

  beforeAll(async () => {
    browser = await openBrowser();
    page = await browser.newPage({ viewport: { width: 1400, height: 900 }, locale: 'fr-FR' });
    page.on('console', (message) => {
      if (message.text().includes('Content Security Policy')) violations.push(message.text());
    });
    await page.goto(`${NODE_URL}/`);
    await row().waitFor({ timeout: 20_000 });
  });

  afterAll(() => browser?.close());

  test('says what is owed, why, and since when', async () => {
    const told = await row().textContent();
    expect(told).toContain('Publication');
    expect(told).toContain('compte rendu reçu');
    expect(told).toMatch(/\d\d\/\d\d\/\d{4} \d\d:\d\d/);
    expect(['à faire', 'en cours']).toContain(await state());
  });

  test('nothing is decided without a reason, nor when the person thinks again', async () => {
    await button('Arrêter').click();
    await dialog().getByRole('button', { name: 'Arrêter', exact: true }).click();
    expect(await dialog().isVisible()).toBe(true);
    await dialog().getByRole('button', { name: 'Annuler' }).click();
    await dialog().waitFor({ state: 'detached' });
    expect(await state()).not.toBe('arrêté');
  });

  test('parks with a reason, which the list then shows', async () => {
    await button('Arrêter').click();
    await dialog().getByLabel('Motif').fill('images attendues du site B');
    await dialog().getByRole('button', { name: 'Arrêter', exact: true }).click();
    await expect.poll(state).toBe('arrêté');
    expect(await row().locator('.error').textContent()).toContain('images attendues du site B');
    expect(await button('Arrêter').count()).toBe(0);
  });

  test('tries again', async () => {
    await button('Réessayer').click();
    await expect.poll(state).toMatch(/à faire|en cours/);
  });

  test('discards after a warning, and offers nothing more', async () => {
    await button('Abandonner').click();
    expect(await dialog().textContent()).toContain('Le DMP ne sera pas informé.');
    await dialog().getByLabel('Motif').fill('examen d’essai');
    await page.keyboard.press('Enter');
    await expect.poll(state).toBe('abandonné');
    expect(await row().getByRole('button').count()).toBe(0);
  });

  test('shows one state alone', async () => {
    await page.getByLabel('État', { exact: true }).selectOption('parked');
    await page.getByText('Aucune publication dans cet état.').waitFor();
    await page.getByLabel('État', { exact: true }).selectOption('discarded');
    await row().waitFor();
  });

  test('stays within its content security policy', () => {
    expect(violations).toEqual([]);
  });
});
