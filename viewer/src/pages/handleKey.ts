import { WINDOW_PRESETS } from '../study/windowPresets';
import type { PaneControl } from './ImagePane';
import type { Command } from './Toolbar';

const PAGE = 10;

/** Do what a key means for the active pane. Returns whether it meant something. */
export function handleKey(
  key: string,
  pane: PaneControl,
  modality: string,
  onCommand: (command: Command) => void,
): boolean {
  const actions: Record<string, () => void> = {
    ArrowDown: () => pane.step(1),
    ArrowRight: () => pane.step(1),
    ArrowUp: () => pane.step(-1),
    ArrowLeft: () => pane.step(-1),
    PageDown: () => pane.step(PAGE),
    PageUp: () => pane.step(-PAGE),
    Home: () => pane.goTo(0),
    End: () => pane.goTo(Number.MAX_SAFE_INTEGER),
    '+': () => pane.viewport.zoomBy(1.2),
    '-': () => pane.viewport.zoomBy(1 / 1.2),
    ' ': () => onCommand('play'),
    i: () => onCommand('invert'),
    f: () => onCommand('fit'),
    r: () => onCommand('reset'),
  };
  const preset = modality === 'CT' ? WINDOW_PRESETS[Number(key) - 1] : undefined;
  if (preset) actions[key] = () => pane.viewport.setWindow(preset.center, preset.width);
  const action = Object.hasOwn(actions, key) ? actions[key] : undefined;
  action?.();
  return action !== undefined;
}
