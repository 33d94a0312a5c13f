/** What a self-test that moves bytes found wrong; that it took too long or threw counts as a fault, too. */
async function faultWithin(
  milliseconds: number,
  work: Promise<string | undefined>,
): Promise<string | undefined> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<string>((resolve) => {
    timer = setTimeout(resolve, milliseconds, `bytes did not arrive within ${milliseconds} milliseconds`);
  });
  try {
    return await Promise.race([work, late]);
  } catch (error) {
    return error instanceof Error ? error.message : String(error);
  } finally {
    clearTimeout(timer);
  }
}
