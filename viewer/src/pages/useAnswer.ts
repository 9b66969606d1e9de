import { useState } from 'preact/hooks';
import { describeProblem, type Notice } from './describeProblem';

export interface Answer<T> {
  value?: T;
  notice?: Notice;
  isAsking: boolean;
  ask: (question: () => Promise<T>) => void;
}

/** One question to the node at a time, and what came of it. An older answer that comes late is dropped. */
export function useAnswer<T>(): Answer<T> {
  const [state, setState] = useState<{ value?: T; notice?: Notice; isAsking: boolean }>({ isAsking: false });
  const [latest] = useState({ question: 0 });
  const ask = (question: () => Promise<T>) => {
    const number = ++latest.question;
    const settle = (next: { value?: T; notice?: Notice }) => {
      if (number === latest.question) setState({ ...next, isAsking: false });
    };
    setState((now) => ({ ...now, isAsking: true }));
    question().then(
      (value) => settle({ value }),
      (error: unknown) => settle({ notice: describeProblem(error) }),
    );
  };
  return { ...state, ask };
}
