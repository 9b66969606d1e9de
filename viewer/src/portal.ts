import { h, render } from 'preact';
import './theme.css';
import './portal.css';
import { PortalPage } from './pages/PortalPage';
import { language } from './words/language';
import { say } from './words/say';

document.documentElement.lang = language;
document.title = `${say('product')} – ${say('portalTitle')}`;
const app = document.getElementById('app');
if (app) render(h(PortalPage, {}), app);
