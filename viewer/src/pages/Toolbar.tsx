import { WINDOW_PRESETS } from '../study/windowPresets';
import type { PointerTool } from '../viewport/ImageViewport';
import { say } from '../words/say';
import { Icon, type IconName } from './Icon';

export type Command = 'reset' | 'invert' | 'fit' | 'play' | 'compare';

interface Props {
  modality: string;
  pointerTool: PointerTool;
  isPlaying: boolean;
  isComparing: boolean;
  onPointerTool: (tool: PointerTool) => void;
  onCommand: (command: Command) => void;
  onWindow: (center: number, width: number) => void;
}

const TOOLS: readonly PointerTool[] = ['window', 'zoom', 'pan', 'length', 'angle', 'ellipse'];

/** What can be done to the active image. */
export function Toolbar(props: Props) {
  const { modality, pointerTool, isPlaying, isComparing, onPointerTool, onCommand, onWindow } = props;
  const command = (name: Command, icon: IconName, label: string, isPressed?: boolean) => (
    <button type="button" aria-pressed={isPressed} title={label} onClick={() => onCommand(name)}>
      <Icon name={icon} />
      <span>{label}</span>
    </button>
  );
  return (
    <div class="toolbar" role="toolbar" aria-label={say('tools')}>
      <div class="group">
        {TOOLS.map((tool) => (
          <button
            type="button"
            key={tool}
            aria-pressed={tool === pointerTool}
            title={say(`tool_${tool}`)}
            onClick={() => onPointerTool(tool)}
          >
            <Icon name={tool} />
            <span>{say(`tool_${tool}`)}</span>
          </button>
        ))}
      </div>
      <div class="group">
        {command('invert', 'invert', say('invert'))}
        {command('fit', 'fit', say('fit'))}
        {command('reset', 'reset', say('reset'))}
        {isPlaying ? command('play', 'stop', say('stop'), true) : command('play', 'play', say('play'), false)}
        {command('compare', 'compare', say('compare'), isComparing)}
      </div>
      {modality === 'CT' && (
        <label class="presets">
          <span>{say('presets')}</span>
          <select
            // Choosing is an order, not a state: the window can also be dragged, so nothing stays selected.
            value=""
            onChange={(event) => {
              const preset = WINDOW_PRESETS[Number(event.currentTarget.value)];
              if (preset) onWindow(preset.center, preset.width);
              event.currentTarget.value = '';
            }}
          >
            <option value="" disabled hidden>
              {say('choose')}
            </option>
            {WINDOW_PRESETS.map((preset, index) => (
              <option key={preset.name} value={index}>
                {`${index + 1} · ${say(`preset_${preset.name}`)} (${preset.width} / ${preset.center})`}
              </option>
            ))}
          </select>
        </label>
      )}
    </div>
  );
}
