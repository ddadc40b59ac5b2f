/** How a value is shown, by the name that `data-format` gives; a page may add its own. */
export const formats: Record<string, (value: any) => string>;

/** A key as `data-key` has it: of several columns, JSON. */
export function keyText(key: unknown): string;

/** The order of two texts: of two numbers theirs, else that of their code units. */
export function compare(one: string, other: string): number;

/** `<skerry-rows>`. */
export class SkerryRows extends HTMLElement {
  /** The elements that are rows, in their order. */
  readonly rows: HTMLElement[];
  /** Show a row, as an event `row_put` does. */
  put(key: unknown, row: Record<string, unknown>): void;
}

declare global {
  interface HTMLElementTagNameMap {
    "skerry-rows": SkerryRows;
  }
  interface HTMLElementEventMap {
    "skerry:row": CustomEvent<{ key: unknown; row: Record<string, unknown> }>;
  }
}
