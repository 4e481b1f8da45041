/** Reading a thread that grows at both ends: new words keep the end in view only for who is there, and older ones move nothing. */

import type { RefObject } from "preact";
import { useCallback, useEffect, useLayoutEffect, useRef, useState } from "preact/hooks";

/** So close to the end is at the end. */
const NEAR_PIXELS = 120;

const page = () => document.documentElement;
const fromEnd = () => page().scrollHeight - window.scrollY - window.innerHeight;

export function useReading(content: RefObject<HTMLElement | null>): {
  /** Whether there is more below what is in view. */
  isAway: boolean;
  toEnd: () => void;
  /** Call it before something is put above what is in view. */
  hold: () => void;
} {
  const follows = useRef(true);
  const held = useRef<number | null>(null);
  const [isAway, setAway] = useState(false);

  const toEnd = useCallback(() => {
    follows.current = true;
    window.scrollTo(0, page().scrollHeight);
    setAway(false);
  }, []);
  const hold = useCallback(() => {
    held.current = page().scrollHeight - window.scrollY;
  }, []);

  const settle = useCallback(() => {
    if (held.current !== null) {
      window.scrollTo(0, page().scrollHeight - held.current);
      held.current = null;
    } else if (follows.current) {
      window.scrollTo(0, page().scrollHeight);
    }
  }, []);
  useLayoutEffect(settle);

  useEffect(() => {
    let top = window.scrollY;
    const scroll = () => {
      // What grows below moves nobody away from the end; only scrolling up does.
      const isUp = window.scrollY < top - 1;
      top = window.scrollY;
      if (fromEnd() < NEAR_PIXELS) follows.current = true;
      else if (isUp) follows.current = false;
      setAway(!follows.current);
    };
    window.addEventListener("scroll", scroll, { passive: true });
    const growth = new ResizeObserver(settle);
    if (content.current) growth.observe(content.current);
    return () => {
      window.removeEventListener("scroll", scroll);
      growth.disconnect();
    };
  }, []);

  return { isAway, toEnd, hold };
}
