/** Say on the page whether an image is on the screen: "ready" stays once reached. Tests and screenshots wait for it. */
export function markPage(state: 'ready' | 'error'): void {
  if (document.body.dataset.state !== 'ready') document.body.dataset.state = state;
}
