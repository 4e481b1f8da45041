/** The end of an axis that reaches `most`: 2, 4 or 10 of a power of ten, whose half is whole, too. */
export function axisEnd(most: number): number {
  for (let power = 1; ; power *= 10) {
    const end = [2, 4, 10].map((times) => times * power).find((one) => one >= most);
    if (end !== undefined) return end;
  }
}
