import { h, render } from 'preact';
import './theme.css';
import './viewer.css';
import { ViewerPage } from './pages/ViewerPage';
import { readAddress } from './study/readAddress';
import { startCornerstone } from './viewport/startCornerstone';
import { language } from './words/language';
import { say } from './words/say';

document.documentElement.lang = language;
document.title = `${say('viewer')} – ${say('product')}`;
startCornerstone();
const app = document.getElementById('app');
if (app) render(h(ViewerPage, { address: readAddress(location.search) }), app);
