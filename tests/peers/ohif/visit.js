// OHIF as it is published, in headless chromium, on a node: opens a study, shows each of its series, tells what it saw.
//
// node visit.js '{"port": …, "node": "http://…", "pictures": "a folder, or nothing", "visits": [{"study": …, "source": {…}}]}'
// port: of the viewer, where the node is found below /dicom-web; elsewhere: a port of another origin, for the node alone.
// study: none for the list of all, as query filters it, from which the files of upload are sent. source: over the settings
// of OHIF's data source. One line of JSON a visit: what the page asked of the node and what it was answered, the series it
// listed with the levels, colours and words it showed for each, and what went wrong in it. awaited: by modality, what
// may come some time after the last answer: one of these words, or so many colours.

const { createReadStream, existsSync, statSync } = require('node:fs');
const http = require('node:http');
const path = require('node:path');
const { chromium } = require('playwright-core');

const DIST = path.join(__dirname, 'node_modules/@ohif/app/dist');
const CHROMIUM = process.env.CHROMIUM || '/usr/bin/chromium';
const TYPES = { '.html': 'text/html', '.js': 'text/javascript', '.css': 'text/css', '.wasm': 'application/wasm', '.json': 'application/json', '.svg': 'image/svg+xml' };
const TILES = '[data-cy^="study-browser-thumbnail"]';
const FLAGS = ['--headless', '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync', '--use-angle=swiftshader', '--enable-unsafe-swiftshader'];

const wanted = JSON.parse(process.argv[2]);
const asked = [];
let source = {};

/** One origin for the page and the node, as a site puts its viewer before its node. */
function answer(request, response) {
  const { pathname } = new URL(request.url, 'http://viewer');
  if (pathname.startsWith('/dicom-web')) return forward(request, response);
  if (request.socket.localPort === wanted.elsewhere) return response.writeHead(404).end();
  if (pathname === '/app-config.js') {
    response.setHeader('content-type', 'text/javascript');
    return response.end(`window.config = ${JSON.stringify(configuration())}`);
  }
  let file = path.join(DIST, path.normalize(pathname));
  if (!existsSync(file) || statSync(file).isDirectory()) {
    if (path.extname(pathname)) return response.writeHead(404).end();
    file = path.join(DIST, 'index.html');
  }
  response.setHeader('content-type', TYPES[path.extname(file)] || 'application/octet-stream');
  return createReadStream(file).pipe(response);
}

function forward(request, response) {
  const line = { method: request.method, path: request.url, accept: request.headers.accept, status: 0, type: '' };
  asked.push(line);
  const out = http.request(wanted.node + request.url, { method: request.method, headers: request.headers }, (reply) => {
    line.status = reply.statusCode;
    line.type = reply.headers['content-type'] || '';
    response.writeHead(reply.statusCode, reply.headers);
    reply.pipe(response);
    reply.on('error', () => response.destroy());
  });
  out.on('error', () => response.destroy());
  response.on('close', () => out.destroy());
  request.pipe(out);
}

function configuration() {
  const root = '/dicom-web';
  return {
    routerBasename: '/',
    extensions: [],
    modes: [],
    showStudyList: true,
    showWarningMessageForCrossOrigin: false,
    showCPUFallbackMessage: false,
    strictZSpacingForVolumeViewport: true,
    investigationalUseDialog: { option: 'never' },
    defaultDataSourceName: 'node',
    dataSources: [
      {
        namespace: '@ohif/extension-default.dataSourcesModule.dicomweb',
        sourceName: 'node',
        configuration: {
          friendlyName: 'node',
          name: 'node',
          qidoRoot: root,
          wadoRoot: root,
          wadoUriRoot: root,
          qidoSupportsIncludeField: true,
          supportsFuzzyMatching: true,
          supportsWildcard: true,
          supportsReject: false,
          dicomUploadEnabled: true,
          imageRendering: 'wadors',
          thumbnailRendering: 'wadors',
          enableStudyLazyLoad: true,
          singlepart: 'bulkdata,video,pdf',
          bulkDataURI: { enabled: true },
          ...source,
        },
      },
    ],
  };
}

/** Wait until the page has asked nothing for a second. */
async function quiet(page) {
  for (let still = 0, before = -1; still < 5; ) {
    await page.waitForTimeout(200);
    const open = asked.some((line) => line.status === 0);
    still = asked.length === before && !open ? still + 1 : 0;
    before = asked.length;
  }
}

/** How many levels and how many colours the busiest canvas shows, what is embedded, and what is written in the grid. */
function seen() {
  const canvases = [...document.querySelectorAll('canvas')].map((canvas) => {
    const data = canvas.getContext('2d')?.getImageData(0, 0, canvas.width, canvas.height).data ?? [];
    const levels = new Set();
    const colours = new Set();
    for (let i = 0; i < data.length; i += 4 * 31) {
      const [red, green, blue] = data.slice(i, i + 3);
      levels.add((red << 16) | (green << 8) | blue);
      if (Math.max(red, green, blue) - Math.min(red, green, blue) > 40) colours.add((red << 16) | (green << 8) | blue);
    }
    return { levels: levels.size, colours: colours.size };
  });
  const busiest = canvases.sort((one, other) => other.levels - one.levels)[0] ?? { levels: 0, colours: 0 };
  const embedded = [...document.querySelectorAll('object, iframe, video')].map((one) => one.data || one.src);
  const grid = document.querySelector('[data-cy="viewport-grid"]') ?? document.body;
  return { ...busiest, embedded, words: grid.innerText };
}

/** Show each series of the study that is open, by a double click in the list of OHIF. */
async function showAll(page, name) {
  await page.waitForSelector(TILES, { timeout: 60_000 });
  await quiet(page);
  const tour = page.getByText('Skip all');
  if (await tour.count()) await tour.first().click();
  const series = [];
  const tiles = page.locator(TILES);
  for (let index = 0; index < (await tiles.count()); index++) {
    const tile = await tiles.nth(index).innerText();
    const awaited = wanted.awaited?.[tile.split('\n')[0]] ?? {};
    let found;
    for (let turn = 0; turn < 3 && !isThere(found, awaited); turn++) {
      await tiles.nth(index).dblclick(); // once more where OHIF went on to another image meanwhile
      await quiet(page);
      found = await seenOnce(page, awaited);
    }
    if (wanted.pictures) await page.screenshot({ path: path.join(wanted.pictures, `${name}-${index}.png`) });
    series.push({ tile, ...found });
  }
  return series;
}

const isThere = (found, { words = [''], colours = 0 }) =>
  Boolean(found) && words.some((word) => found.words.includes(word)) && found.colours >= colours;

/** What is seen once the words or the colours that are awaited are there, or after ten seconds. */
async function seenOnce(page, awaited) {
  for (let turn = 0; ; turn++) {
    const found = await page.evaluate(seen);
    if (turn === 50 || isThere(found, awaited)) return found;
    await page.waitForTimeout(200);
  }
}

/** Send files to the node by the dialog of OHIF for that. */
async function send(page, files) {
  await page.getByText('Upload', { exact: true }).first().click();
  await page.locator('input[type="file"]').first().setInputFiles(files);
  await page.waitForTimeout(1000);
  await quiet(page);
}

async function visit(browser, { study = '', query = '', upload = [], source: over = {} }) {
  const page = await browser.newPage({ viewport: { width: 1400, height: 900 } });
  const wrong = [];
  page.on('pageerror', (error) => wrong.push(`${error}`.slice(0, 500)));
  page.on('console', (message) => message.type() === 'error' && wrong.push(message.text().slice(0, 500)));
  asked.length = 0;
  source = over;
  let series = [];
  try {
    await page.goto(`http://127.0.0.1:${wanted.port}/${study ? `viewer?StudyInstanceUIDs=${study}` : `?${query}`}`);
    if (study) {
      series = await showAll(page, study);
    } else {
      await page.waitForSelector('text=/study list/i', { timeout: 60_000 });
      await quiet(page);
      if (upload.length) await send(page, upload);
      series = [{ tile: '', ...(await page.evaluate(seen)) }];
    }
  } catch (error) {
    wrong.push(`visit: ${error}`);
  }
  console.log(JSON.stringify({ study, series, wrong, asked }));
  await page.close();
}

async function main() {
  const ports = [wanted.port, wanted.elsewhere].filter(Boolean);
  const servers = ports.map((port) => http.createServer(answer).listen(port, '127.0.0.1'));
  const browser = await chromium.launch({ executablePath: CHROMIUM, args: FLAGS });
  try {
    for (const each of wanted.visits) await visit(browser, each);
  } finally {
    await browser.close();
    for (const server of servers) {
      server.close();
      server.closeAllConnections();
    }
  }
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
