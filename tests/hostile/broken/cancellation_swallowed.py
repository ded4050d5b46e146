"""A handler takes its cancellation for the end of its work."""

import asyncio

from service.servicer import TranslationServicer

handler = TranslationServicer.StreamTranslate


async def swallows(self, request, context):
    try:
        async for response in handler(self, request, context):
            yield response
    except (asyncio.CancelledError, GeneratorExit):
        return


TranslationServicer.StreamTranslate = swallows
